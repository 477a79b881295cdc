//! The page of metrics, made once for many scrapes.

use super::encoding::{Encoding, gzip};
use super::limits::{PAGE_SERVES_MOST, PAGE_SERVES_TIMES};
use crate::system::clock;
use hyper::body::Bytes;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The latest page, plain and compressed.
#[derive(Debug, Default)]
pub(super) struct Exposition(Mutex<Option<Page>>);

#[derive(Debug)]
struct Page {
    until: Instant,
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl Exposition {
    /// The page, fresh from `render` or made a moment ago. All who get the same page share its bytes.
    pub(super) fn page(&self, encoding: Encoding, render: impl FnOnce() -> Vec<u8>) -> Bytes {
        let zip = encoding == Encoding::Gzip;
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = clock::steady();
        if latest.as_ref().is_none_or(|page| start >= page.until) {
            *latest = Some(Page { until: start, plain: render().into(), gzip: None });
        }
        let page = latest.as_mut().expect("it was just made");
        let is_made = page.until > start && (page.gzip.is_some() || !zip);
        if !is_made {
            if zip {
                page.gzip.get_or_insert_with(|| gzip(&page.plain));
            }
            let made = clock::steady();
            // From when it is made: one that took longer than it may serve would be made anew for each who waited for it.
            let serves = (made.duration_since(start) * PAGE_SERVES_TIMES).min(PAGE_SERVES_MOST);
            page.until = page.until.max(made + serves);
        }
        match &page.gzip {
            Some(bytes) if zip => bytes.clone(),
            _ => page.plain.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::time::Duration;

    #[test]
    fn a_page_serves_for_a_while_and_then_is_made_anew() {
        let exposition = Exposition::default();
        let mut made = 0_u64;
        let mut served = 0;
        let start = clock::steady();
        while start.elapsed() < Duration::from_millis(1_200) {
            let zip = served % 2 == 1;
            let encoding = if zip { Encoding::Gzip } else { Encoding::Identity };
            let bytes = exposition.page(encoding, || {
                made += 1;
                std::thread::sleep(Duration::from_millis(1));
                made.to_string().into_bytes()
            });
            let mut text = String::new();
            if zip {
                flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
            } else {
                text.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            assert_eq!(text, made.to_string(), "never an older one, plain or compressed");
            served += 1;
        }
        // 20 ms each; at the least every half second.
        assert!((2..=60).contains(&made), "made {made} times for {served}");
        assert!(served > made * 3, "made {made} times for {served}");
    }

    /// The attacker: clients that ask without end, on a machine so slow or so busy that a page takes longer to make than it may
    /// serve. Each request made it anew, one after the other, and a scrape from elsewhere waited for all of them.
    #[test]
    fn a_page_that_took_long_to_make_serves_those_who_waited_for_it() {
        let exposition = Exposition::default();
        let mut made = 0;
        for _ in 0..3 {
            exposition.page(Encoding::Identity, || {
                made += 1;
                std::thread::sleep(PAGE_SERVES_MOST + Duration::from_millis(100));
                b"whole".to_vec()
            });
        }
        assert!(made < 3, "made for each");
    }

    #[test]
    fn a_page_that_panics_in_the_making_is_made_by_the_next() {
        let exposition = Exposition::default();
        let broken =
            std::panic::AssertUnwindSafe(|| exposition.page(Encoding::Identity, || panic!("as a test")));
        assert!(std::panic::catch_unwind(broken).is_err());
        assert_eq!(exposition.page(Encoding::Identity, || b"whole".to_vec()), "whole");
    }
}
