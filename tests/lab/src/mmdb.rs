//! Writes databases in MaxMind's format, small ones: a search tree over the bits of addresses, a section of data, and what the file
//! says of itself (the MaxMind DB File Format Specification, version 2.0).

use ipnet::IpNet;

/// What can stand in the data.
#[derive(Debug, Clone)]
pub enum Value {
    Text(&'static str),
    Number(u32),
    Short(u16),
    Long(u64),
    Map(Vec<(&'static str, Value)>),
    /// A list of nothing.
    Empty,
}

const TEXT: u8 = 2;
const SHORT: u8 = 5;
const NUMBER: u8 = 6;
const MAP: u8 = 7;

/// The type and the size; short ones only.
fn begin(out: &mut Vec<u8>, of: u8, size: usize) {
    assert!(size < 29 + 256, "it writes short values");
    match size.checked_sub(29) {
        None => out.push(of << 5 | size as u8),
        Some(more) => out.extend([of << 5 | 29, more as u8]),
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Text(text) => {
                begin(out, TEXT, text.len());
                out.extend(text.as_bytes());
            }
            Value::Number(number) => {
                begin(out, NUMBER, 4);
                out.extend(number.to_be_bytes());
            }
            Value::Short(number) => {
                begin(out, SHORT, 2);
                out.extend(number.to_be_bytes());
            }
            // An extended type: its number less seven comes after the size.
            Value::Long(number) => {
                out.extend([8, 2]);
                out.extend(number.to_be_bytes());
            }
            // An array.
            Value::Empty => out.extend([0, 4]),
            Value::Map(entries) => {
                begin(out, MAP, entries.len());
                for (key, value) in entries {
                    Value::Text(key).write(out);
                    value.write(out);
                }
            }
        }
    }
}

/// Where one side of a node leads.
#[derive(Clone, Copy)]
enum Side {
    Nothing,
    Node(usize),
    Data(usize),
}

/// A database of a type with these networks; smaller ones come after those that they lie in.
pub fn write(database_type: &'static str, records: &[(IpNet, Value)]) -> Vec<u8> {
    let (mut nodes, mut data) = (vec![[Side::Nothing; 2]], Vec::new());
    for (network, value) in records {
        let (bits, length) = match network {
            // IPv4 is in the last 32 bits.
            IpNet::V4(v4) => (u128::from(v4.network().to_bits()), 96 + v4.prefix_len()),
            IpNet::V6(v6) => (v6.network().to_bits(), v6.prefix_len()),
        };
        let mut at = 0;
        for depth in 0..length {
            let side = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == length {
                nodes[at][side] = Side::Data(data.len());
                break;
            }
            at = match nodes[at][side] {
                Side::Node(node) => node,
                // A network within one that has a value: both halves begin with that.
                value => {
                    nodes.push([value; 2]);
                    nodes[at][side] = Side::Node(nodes.len() - 1);
                    nodes.len() - 1
                }
            };
        }
        value.write(&mut data);
    }
    let mut out = Vec::new();
    for side in nodes.iter().flatten() {
        let record = match *side {
            Side::Nothing => nodes.len(),
            Side::Node(node) => node,
            Side::Data(offset) => nodes.len() + 16 + offset,
        };
        out.extend(&(record as u32).to_be_bytes()[1..]);
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    Value::Map(vec![
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", Value::Text(database_type)),
        ("description", Value::Map(vec![("en", Value::Text("for tests"))])),
        ("ip_version", Value::Short(6)),
        ("languages", Value::Empty),
        ("node_count", Value::Number(nodes.len() as u32)),
        ("record_size", Value::Short(24)),
    ])
    .write(&mut out);
    out
}
