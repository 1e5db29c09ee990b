//! The backend against a vhost-user frontend of the tests' own, with a mock CUDA driver that ends
//! the worker at any pointer it does not know.

mod backend;
mod between;
mod client;
mod driver;
mod flood;
mod frontend;
mod host;
mod hostile;
mod lifecycle;
mod lines;
mod older;
mod peers;
mod process;
mod quotas;
mod sandbox;
mod sessions;
mod state;
mod vm;
