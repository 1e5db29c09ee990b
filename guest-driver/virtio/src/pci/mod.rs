//! The transport through sysfs.
