//! Jami devices: what is made and kept for them. HTTP knows this module, and this module nothing of HTTP.

pub mod receipt;
