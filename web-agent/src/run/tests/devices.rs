//! Devices that show certificates in their handshakes.
