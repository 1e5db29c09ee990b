//! The software GPU's driver, used as a C program would use libcuda.

#[macro_use]
mod kit;

mod arrays;
mod contexts;
mod devices;
mod events;
mod fatbins;
mod handles;
mod images;
mod launches;
mod links;
mod memory;
mod output;
mod streams;
mod textures;
mod threads;
