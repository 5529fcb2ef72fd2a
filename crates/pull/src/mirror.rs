//! Which addresses are asked: https alone, or a mirror of the user's.

use ureq::http::Uri;

use crate::error::Error;

/// A server that stands in for all others: `https://HOST/PATH` lies at `BASE/HOST/PATH`, as `wget --mirror` leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    base: String,
    uri: Uri,
}

impl Mirror {
    /// # Errors
    /// [`Error::Mirror`] for anything but an http or https address.
    pub fn new(base: &str) -> Result<Mirror, Error> {
        let base = base.trim_end_matches('/');
        let uri = base.parse::<Uri>().ok();
        let uri = uri.filter(|uri| is_scheme(uri, "http") || is_scheme(uri, "https"));
        match uri {
            Some(uri) if uri.authority().is_some() && uri.query().is_none() => {
                Ok(Mirror { base: base.to_owned(), uri })
            }
            _ => Err(Error::Mirror(base.to_owned())),
        }
    }

    /// Where the mirror has what lies at `address`.
    pub fn of(&self, address: &str) -> String {
        let path = address.strip_prefix("https://").unwrap_or(address);
        format!("{}/{path}", self.base)
    }
}

/// Refuses what would send weights through the net unprotected: http, but for the user's own mirror.
pub(crate) fn check(address: &str, mirror: Option<&Mirror>) -> Result<Uri, Error> {
    let uri = address.parse::<Uri>().ok().filter(|uri| uri.authority().is_some());
    let uri = uri.ok_or_else(|| Error::Address { address: address.to_owned(), reason: "is no address" })?;
    let is_mirror = |mirror: &Mirror| (mirror.uri.scheme(), mirror.uri.authority()) == (uri.scheme(), uri.authority());
    if is_scheme(&uri, "https") || mirror.is_some_and(is_mirror) {
        return Ok(uri);
    }
    Err(Error::Address { address: address.to_owned(), reason: "is not https" })
}

fn is_scheme(uri: &Uri, scheme: &str) -> bool {
    uri.scheme_str() == Some(scheme)
}

/// Where `location`, a redirect's header in the answer of `from`, leads: an address, or a path on the same server.
pub(crate) fn redirected(from: &Uri, location: &str) -> Option<String> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    // A fragment is for the reader, not for the server.
    let location = location.split('#').next()?;
    if location.starts_with("//") {
        Some(format!("{scheme}:{location}"))
    } else if location.starts_with('/') {
        Some(format!("{scheme}://{authority}{location}"))
    } else if location.contains("://") {
        Some(location.to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_has_a_folder_for_every_server() {
        let mirror = Mirror::new("http://mirror.local:8080/weights/").unwrap();
        let there = mirror.of("https://download.pytorch.org/models/mobilenet_v2-b0353104.pth");
        let expected = "http://mirror.local:8080/weights/download.pytorch.org/models/mobilenet_v2-b0353104.pth";
        assert_eq!(there, expected);
        assert!(check(&there, Some(&mirror)).is_ok());
    }

    #[test]
    fn a_mirror_is_an_http_address() {
        for base in ["", "mirror.local", "ftp://mirror.local", "/srv/weights", "https://", "http://a b"] {
            assert!(matches!(Mirror::new(base), Err(Error::Mirror(_))), "{base}");
        }
    }

    #[test]
    fn only_the_mirror_itself_may_be_asked_without_encryption() {
        let mirror = Mirror::new("http://mirror.local").unwrap();
        for (address, is_allowed) in [
            ("https://huggingface.co/x", true),
            ("http://mirror.local/x", true),
            ("http://mirror.local:81/x", false),
            ("http://huggingface.co/x", false),
            ("file:///etc/passwd", false),
            ("no address", false),
        ] {
            assert_eq!(check(address, Some(&mirror)).is_ok(), is_allowed, "{address}");
        }
        assert!(check("http://mirror.local/x", None).is_err());
    }

    #[test]
    fn redirects_lead_to_addresses_or_paths() {
        let from = "https://huggingface.co/a/b".parse().unwrap();
        for (location, expected) in [
            ("https://cdn.example/x?y=1#z", Some("https://cdn.example/x?y=1")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("/api/resolve-cache/x", Some("https://huggingface.co/api/resolve-cache/x")),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(redirected(&from, location).as_deref(), expected, "{location}");
        }
    }
}
