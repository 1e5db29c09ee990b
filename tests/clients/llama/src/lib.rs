//! Only there so that cargo fetches the dependency.
