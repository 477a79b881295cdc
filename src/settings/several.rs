//! What may be one value in the configuration file, or a list of them.

use super::syntax::Located;
use crate::text::yaml::{Scalar, Spanned, Syntax};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// One value, or a list of them.
pub(super) fn several<'de, T: Syntax, D: Deserializer<'de>>(from: D) -> Result<Vec<Located<T>>, D::Error> {
    let Some(written) = Option::<Spanned<OneOrMore<T>>>::deserialize(from)? else { return Ok(Vec::new()) };
    let length = written.defined.span().len();
    let text = match written.value {
        OneOrMore::More(values) => return Ok(values),
        OneOrMore::Text(text) => text,
        OneOrMore::Number(number) if number.len() as u64 == length => number,
        OneOrMore::Number(_) => return Err(de::Error::custom(plain_number::<T>())),
    };
    let value = T::parse(&text).map_err(de::Error::custom)?;
    Ok(vec![Located { line: written.referenced.line(), value }])
}

fn plain_number<T: Syntax>() -> String {
    format!("expected {}, in decimal digits", T::EXPECTED)
}

/// What `several` reads. YAML hands over a number that stands alone as its value: whether it is written as one of ours is told by its
/// length.
enum OneOrMore<T> {
    Text(String),
    Number(String),
    More(Vec<Located<T>>),
}

impl<'de, T: Syntax> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Written<T>(PhantomData<T>);

        impl<'de, T: Syntax> Visitor<'de> for Written<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}, or a list of such", T::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMore::Text(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(OneOrMore::Number(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
                Err(E::custom(plain_number::<T>()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(next) = list.next_element::<Spanned<Scalar<T>>>()? {
                    values.push(Located { line: next.referenced.line(), value: next.value.0 });
                }
                match values.is_empty() {
                    true => Err(de::Error::custom(format!("expected {}, found an empty list", T::EXPECTED))),
                    false => Ok(OneOrMore::More(values)),
                }
            }
        }

        from.deserialize_any(Written(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::yaml;

    #[derive(serde::Deserialize)]
    struct File {
        #[serde(rename = "other")]
        _other: u32,
        #[serde(default, deserialize_with = "several")]
        several: Vec<Located<u32>>,
    }

    #[test]
    fn one_value_or_a_list() {
        let values = |text: &str| {
            let file = yaml::parse(&format!("other: &a 20\n\nseveral: {text}"));
            file.map(|file: Option<File>| {
                file.expect("it says something").several.iter().map(|one| (one.value, one.line)).collect()
            })
        };
        let all: [(&str, Vec<(u32, u64)>); 8] = [
            ("20", vec![(20, 3)]),
            ("'20' # 30", vec![(20, 3)]),
            ("&b 20", vec![(20, 3)]),
            ("*a", vec![(20, 3)]),
            ("0", vec![(0, 3)]),
            ("[20, 30]", vec![(20, 3), (30, 3)]),
            ("\n  - 40\n  - 50", vec![(40, 4), (50, 5)]),
            ("", vec![]),
        ];
        for (text, expected) in all {
            assert_eq!(values(text), Ok(expected), "{text}");
        }
        for wrong in [
            "0x14", "0o24", "+20", "020", "1_000", "20.0", "1e1", "-3", "x", "[]", "[0x14]", "[[1]]", "true",
            "{a: b}",
        ] {
            let (line, why) = values(wrong).expect_err(wrong);
            assert!(line == Some(3) && why.starts_with("expected "), "{wrong}: {line:?} {why}");
        }
        assert_eq!(
            values("0x14"),
            Err((Some(3), "expected a whole number like 20, in decimal digits".into()))
        );
    }
}
