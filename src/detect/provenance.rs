//! What databases of the operator say of an address: its country, the network that it is in, whose known scanner it is. It changes
//! nothing of what is found, and is shown with it.

use crate::detect::names::Name;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What they say of one address; each as far as there is such a database, and the address is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Provenance {
    /// Its country.
    pub country: Option<Country>,
    /// The number of its autonomous system.
    pub asn: Option<u32>,
    /// Who scans from there, and is known for it.
    pub scanner: Option<Name>,
}

/// A country, by its two letters (ISO 3166-1): whatever stands in a file, there are no more than 676 values of the label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// The country of this code, if it is two capital letters.
    pub fn new(code: &str) -> Option<Self> {
        let code: [u8; 2] = code.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }

    /// Its code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Looks an address up.
type Lookup = dyn Fn(IpAddr) -> Provenance + Send + Sync;

/// The databases, as one. Addresses are looked up when something is reported or shown, never with each packet.
#[derive(Clone, Default)]
pub struct Databases(Option<Arc<Lookup>>);

impl Databases {
    /// Those that this looks an address up in.
    pub fn new(lookup: impl Fn(IpAddr) -> Provenance + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(lookup)))
    }

    /// What they say of an address.
    pub fn of(&self, address: IpAddr) -> Provenance {
        self.0.as_ref().map_or_else(Provenance::default, |lookup| lookup(address))
    }
}

/// Loaded anew they may say something else.
impl PartialEq for Databases {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Databases {}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Databases").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_two_capital_letters() {
        assert_eq!(Country::new("DE").expect("a country").as_str(), "DE");
        for bad in ["", "D", "DEU", "de", "D1", "Ä", "D\n"] {
            assert_eq!(Country::new(bad), None, "{bad}");
        }
    }
}
