//! [`NetworkRule`]: where a plugin may connect to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `SCHEME://HOST[:PORT]`. The schemes are `http`, `https`, `tcp` and `udp`. The host is a name, a name after `*.` (any name below
/// it), `*` (any name), or an address (IPv6 in brackets). The port is a number or `*`. `http` and `https` have the default ports 80
/// and 443; the other schemes need a port.
///
/// Even if a name is allowed, it must not resolve to a private, loopback or link-local address. To allow that, use a rule with the
/// address itself, `localhost` (loopback), or `private_network`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetworkRule {
    /// The scheme.
    pub scheme: Scheme,
    /// The host.
    pub host: HostPattern,
    /// The port; `None` for any port.
    pub port: Option<u16>,
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP without encryption.
    Http,
    /// HTTP over TLS.
    Https,
    /// Anything over TCP.
    Tcp,
    /// Anything over UDP.
    Udp,
}

impl Scheme {
    /// Its name in a rule.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The port of a URL with this scheme and without a port.
    #[must_use]
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp | Self::Udp => None,
        }
    }
}

/// The hosts that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every name and every public address.
    Any,
    /// Every name below this one. In lower case.
    Below(String),
    /// This name, in lower case.
    Name(String),
    /// This address.
    Address(IpAddr),
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(name) => Ok(Self::Below(checked_name(name)?)),
            None => Ok(Self::Name(checked_name(text)?)),
        }
    }

    /// Whether the pattern matches this host: a name, or an address without brackets.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        match (self, name.parse::<IpAddr>()) {
            (Self::Any, _) => true,
            (Self::Address(own), Ok(address)) => *own == address.to_canonical(),
            (Self::Name(own), Err(_)) => *own == name,
            (Self::Below(own), Err(_)) => {
                name.strip_suffix(own).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            _ => false,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(own), Self::Below(other)) => other == own || other.ends_with(&format!(".{own}")),
            (Self::Below(_), Self::Name(name)) => self.matches(name),
            (own, other) => own == other,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// A host name of letters, digits and `-` (RFC 1123), in lower case.
fn checked_name(name: &str) -> Result<String, String> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    // Some resolvers read `127.1` and `0x7f000001` as addresses.
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if name.len() > 253 || !name.split('.').all(label) || is_number {
        return Err(format!("{name:?} is not a host name (`*` may stand alone, or before the first `.`)"));
    }
    Ok(name.to_ascii_lowercase())
}

impl FromStr for NetworkRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
        let scheme = [Scheme::Http, Scheme::Https, Scheme::Tcp, Scheme::Udp]
            .into_iter()
            .find(|known| known.as_str() == scheme)
            .ok_or_else(|| format!("{scheme:?} is not one of http, https, tcp and udp"))?;
        // The colons of an IPv6 address are in brackets.
        let after = rest.rfind(']').map_or(0, |at| at + 1);
        let colon = rest.get(after..).and_then(|tail| tail.find(':')).map(|at| after + at);
        let (host, port) = match colon {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
            None => (rest, None),
        };
        let port = match port {
            None => Some(scheme.default_port().ok_or_else(|| format!("{} needs a port, or `:*`", scheme.as_str()))?),
            Some("*") => None,
            Some(number) => match number.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(format!("{number:?} is not a port")),
            },
        };
        Ok(Self { scheme, host: HostPattern::parse(host)?, port })
    }
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        match self.port {
            None => f.write_str(":*"),
            Some(port) if self.scheme.default_port() == Some(port) => Ok(()),
            Some(port) => write!(f, ":{port}"),
        }
    }
}

impl NetworkRule {
    /// Whether the rule allows this connection. `host` is a name or an address without brackets.
    #[must_use]
    pub fn allows(&self, scheme: Scheme, host: &str, port: u16) -> bool {
        self.scheme == scheme && self.port.is_none_or(|own| own == port) && self.host.matches(host)
    }

    /// Whether the rule names this address itself, so that it may be a private one.
    #[must_use]
    pub fn names_address(&self, address: IpAddr) -> bool {
        match &self.host {
            HostPattern::Address(own) => *own == address.to_canonical(),
            HostPattern::Name(name) => name == "localhost" && address.to_canonical().is_loopback(),
            HostPattern::Any | HostPattern::Below(_) => false,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.scheme == other.scheme && (self.port.is_none() || self.port == other.port) && self.host.covers(&other.host)
    }

    /// What both rules allow, if one covers the other's host.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let port = match (self.port, other.port) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        let within = |outer: &Self, inner: &Self| outer.host.covers(&inner.host).then(|| inner.host.clone());
        let host = within(self, other).or_else(|| within(other, self))?;
        (self.scheme == other.scheme).then_some(Self { scheme: self.scheme, host, port })
    }

    /// Whether one of `rules` allows everything that this rule allows.
    #[must_use]
    pub fn is_within(&self, rules: &[Self]) -> bool {
        rules.iter().any(|rule| rule.covers(self))
    }
}

/// Whether an address is not routed on the public internet: private, shared, loopback, link-local, unspecified, multicast,
/// documentation and reserved ranges (IANA's special-purpose registries, RFC 6890), and IPv6 forms that contain such an IPv4
/// address.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (b & 0xc0) == 64)
                || (a == 198 && (b & 0xfe) == 18)
                || (a == 192 && b == 0 && c == 0)
        }
        IpAddr::V6(v6) => {
            let s = v6.segments();
            let [.., high, low] = s;
            let embedded = || {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                is_private(IpAddr::from([a, b, c, d]))
            };
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || matches!(s, [0xfec0..=0xfeff, ..])
                || matches!(s, [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x100, 0, 0, 0, ..])
                || matches!(s, [0x3fff, 0..=0xfff, ..] | [0x5f00, ..])
                // IPv4-compatible and the NAT64 prefixes (RFC 6052, RFC 8215).
                || matches!(s, [0x64, 0xff9b, 1, ..])
                || (matches!(s, [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..]) && embedded())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> NetworkRule {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_read_and_written() {
        for (text, shown) in [
            ("https://API.example.com:443", "https://api.example.com"),
            ("http://*.example.com:*", "http://*.example.com:*"),
            ("tcp://[::1]:80", "tcp://[::1]:80"),
            ("udp://10.0.0.1:53", "udp://10.0.0.1:53"),
            ("https://*", "https://*"),
        ] {
            assert_eq!(rule(text).to_string(), shown);
        }
        for wrong in [
            "example.com",
            "ftp://x",
            "tcp://x",
            "http://x:0",
            "http://x:70000",
            "http://a.*.b",
            "http://127.1",
            "http://0x7f000001",
            "http://a..b",
            "http://",
            "http://-a",
            "http://[::1",
            "http://ex\u{e4}mple.com",
        ] {
            assert!(wrong.parse::<NetworkRule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_match_whole_labels_only() {
        let below = rule("https://*.example.com");
        assert!(
            below.allows(Scheme::Https, "a.b.EXAMPLE.com", 443) && below.allows(Scheme::Https, "a.example.com.", 443)
        );
        for host in ["example.com", "badexample.com", ".example.com", "a.example.com.evil.org", "10.0.0.1"] {
            assert!(!below.allows(Scheme::Https, host, 443), "{host}");
        }
        assert!(
            !below.allows(Scheme::Http, "a.example.com", 443) && !below.allows(Scheme::Https, "a.example.com", 8443)
        );
        assert!(rule("http://[::ffff:10.0.0.1]").allows(Scheme::Http, "10.0.0.1", 80));
    }

    #[test]
    fn two_rules_intersect_if_one_covers_the_other() {
        let meet = |one: &str, other: &str| rule(one).intersection(&rule(other)).map(|met| met.to_string());
        let api = Some("https://api.example.com".to_owned());
        assert_eq!(meet("https://*.example.com:*", "https://api.example.com"), api);
        assert_eq!(meet("https://api.example.com", "https://*"), api);
        assert_eq!(meet("https://api.example.com:*", "https://*.example.com"), api, "the narrower of each part");
        assert_eq!(meet("https://example.com", "https://*.example.com"), None);
        assert_eq!(meet("http://example.com", "https://example.com"), None);
        assert!(rule("https://a.example.com").is_within(&[rule("https://*.example.com")]));
        assert!(!rule("https://*.example.com").is_within(&[rule("https://a.example.com")]));
    }

    #[test]
    fn private_addresses_are_known_in_every_form() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2001:db8::1",
            "fec0::1",
        ] {
            assert!(is_private(text.parse().unwrap()), "{text}");
        }
        for text in ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"] {
            assert!(!is_private(text.parse().unwrap()), "{text}");
        }
        assert!(rule("http://localhost:8080").names_address("127.0.0.1".parse().unwrap()));
        assert!(!rule("http://*").names_address("127.0.0.1".parse().unwrap()));
    }
}
