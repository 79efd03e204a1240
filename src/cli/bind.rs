//! Addresses to listen on, in the format of Go's `net.Listen`: `:8090`, `127.0.0.1:8090`, or `0` to disable.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BindAddress {
    /// The server is disabled.
    Off,
    /// Address and port.
    At(SocketAddr),
}

/// A text that is not an address to listen on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("use a port such as :8090, an address with a port such as 127.0.0.1:8090, or 0 to disable")]
pub(crate) struct InvalidAddress;

impl FromStr for BindAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::Off);
        }
        let every_interface =
            |port: &str| Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port.parse().ok()?));
        let localhost = |port: &str| Some(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port.parse().ok()?));
        let address = match text.split_once(':') {
            Some(("", port)) => every_interface(port),
            Some(("localhost", port)) => localhost(port),
            _ => text.parse().ok(),
        };
        address.map(Self::At).ok_or(InvalidAddress)
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => formatter.write_str("0"),
            Self::At(address) => address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", "0"),
            (":8090", "[::]:8090"),
            (":0", "[::]:0"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("localhost:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<BindAddress>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn invalid_addresses_are_refused() {
        for text in ["", "8090", ":", ":http", ":65536", "example.org:80"] {
            assert!(text.parse::<BindAddress>().is_err(), "{text}");
        }
    }
}
