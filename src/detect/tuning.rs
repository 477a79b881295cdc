//! Every number of the core that somebody chose, why it is that, and what breaks at another value. What an operator
//! chooses is in `rule`; what follows from the layout of a structure stands beside it.

// ---- Batches.

/// Probes that are taken at a time, so that their cache misses overlap. With fewer there are not enough misses in flight; with
/// more the first lines fetched are gone from the nearest cache again, and a live capture waits longer for its last probe.
pub const BATCH: usize = 32;

/// Probes gathered between the two steps in which the cache fetches what one will need: its set of the directory, and the row that
/// the set points at. With fewer the set has not arrived; at `BATCH` all rows are asked for at once, and a processor
/// waits for no more than some twenty lines at a time.
pub(super) const AHEAD: usize = 16;

/// Rows that a sweep fetches ahead of the one that it looks at. With none it waits for each; far more are gone from the cache again.
pub(super) const SWEPT_AHEAD: u32 = 16;

// ---- How the memory of a rule is cut.

/// The doorkeeper gets this part of the memory, 8 bytes a source. A greater one remembers a scanner's first port for longer in
/// a flood of one-port sources; a smaller one leaves more rows, and lets fewer of those in that pace their ports. With
/// this one 48 MiB hold 100,000 rows.
pub(super) const DOORKEEPER: (usize, usize) = (3, 32);

/// Rows there are at least, however little memory was given: with fewer, a handful of sources would push one another out.
pub(super) const LEAST_ROWS: usize = 64;

/// The table counts as crowded when this share of its rows is taken: then new sources wait at the door. Later, and a flood
/// of one-port sources fills it before they wait; sooner, and hosts that are scanned a little lose the count of one-port sources.
pub(super) const CROWDED: (usize, usize) = (1, 2);

/// Groups that the sets of the directory are cut into, at least, as a power of two: a directory of any size is a whole number of
/// them. With fewer up to half of its memory would stay unused, with these at most an eighth.
pub(super) const LEAST_GROUPS_BITS: u32 = 3;

/// Parts of a group, as a power of two, each with a key of its own. With fewer one new key moves more sources at a tick (with
/// these one or two in a hundred); with many more every tick would have to draw one.
pub(super) const PARTS_BITS: u32 = 3;

/// How long a key of the directory is in use. From what `/metrics` shows of bursts a simulated attacker took two hours to learn
/// which sources share a set; a shorter time moves sources about for nothing.
pub(super) const KEY_NANOS: u64 = 15 * 60 * 1_000_000_000;

// ---- Who must go.

/// Quanta by which a source on probation whose ports came apart outstays the others: a slow scanner's third port is as far from
/// its second as that from the first. Without it a flood pushes out the slowest scanners between their second port and their
/// third; with more of it dead bursts stay for longer than new sources.
pub(super) const APART: i32 = 6;

/// Units of deadlines in a window. With fewer, rows of one moment go in the order of their number; more need more buckets.
pub(super) const UNITS: u64 = 1024;

/// Credit of a row for each distinct port, in units of deadlines: about a hundredth of the window. At 0 a burst that came last
/// outlasts a young scanner; with more of it than recency gives, dead bursts of many ports outlast scanners that go on.
pub(super) const CREDIT: u64 = 10;

/// Credit of a row for each further quantum in which its source probed: a scanner comes back, a burst does not, however
/// many ports it has. At 0 a flood of bursts turns the table over as if they were scanners.
pub(super) const RETURN_CREDIT: u64 = 51;

/// Quanta that count for it, at most. With more, a source that went silent stays by what it did long ago.
pub(super) const MOST_RETURNS: u8 = 4;

/// Further quanta in which a source probed, to count as one that comes back. At 1 a burst across the end of a quantum does,
/// by chance.
pub(super) const RETURNING: u8 = 2;

/// A row with this share of the threshold's ports is too much to be given up for a source of a few. With a greater one scanners
/// that are not yet halfway go sooner; with a smaller one bursts of few ports fill the reserve.
pub(super) const STRONG: (u32, u32) = (1, 2);

/// The share of the rows that each reserve may have. With more, a flood of sources that stop short of the threshold leaves
/// less of the table to scanners; with less it pushes one another's evidence out of the reserve.
pub(super) const RESERVE: (usize, usize) = (1, 32);

// ---- Distinct ports.

/// The greatest threshold that short lists are made for: with longer ones a table would hold too few sources. Thresholds
/// above it take a block for the hit itself, and blocks can be spent.
pub(super) const LIST_THRESHOLD: u32 = 128;

/// Ports of a short list for greater thresholds. A longer one costs every row memory for what blocks must do anyway; a shorter
/// one takes a block for each busy client.
pub(super) const LIST_PORTS: usize = 96;

/// Cells of the three sizes of blocks: an ordinary scan, nmap's 1,000 ports filled to three quarters at most, and all ports.
/// Other sizes waste memory on, or saturate, the scans that there are most of.
pub(super) const BLOCK_CELLS: [usize; 3] = [192, 1_984, 65_536];

/// The share of the memory that blocks get where hits do not depend on them. With less fewer scans are counted on beyond their
/// list at once; with more there are fewer rows.
pub(super) const BLOCK_SHARE: (usize, usize) = (1, 8);

/// The same for thresholds above `LIST_THRESHOLD`, where each hit takes a block.
pub(super) const BLOCK_SHARE_FOR_HITS: (usize, usize) = (1, 2);

/// How the memory of blocks is shared among their sizes, in eighths: half for ordinary scans, a quarter each for nmap's 1,000
/// ports and for all ports. Where a hit takes a block, most is for the least size in which one fits.
pub(super) const BLOCK_EIGHTHS: [[usize; BLOCK_CELLS.len()]; 3] = [[4, 2, 2], [2, 4, 2], [1, 1, 6]];

/// Blocks that are looked at in one search for one to take away. More, and an attacker who has a scan on every block makes each
/// new port cost that many looks; fewer, and a block that somebody could do without is found later.
pub(super) const BLOCK_LOOKS: usize = 8;

/// A probe for a port that counts already seldom makes its host the busiest: of these, one in so many is looked at. At 1 a
/// gateway pays a look at all hosts of a source with every repeat; at 64 the busiest host is named late.
pub(super) const COMPARE_EVERY: u32 = 8;

// ---- Distinct hosts, where a rule counts them.

/// Hosts of a long list. A search looks at all of them, so that more make each probe of a wide sweep dearer; fewer, and a source
/// that is inside cannot reach its threshold, ten times that of others.
pub(super) const LONG_LIST_PEERS: usize = 1_024;

/// Lists, or hosts of one, that are looked at for one that goes. With fewer, a sweep among the requests of many clients is more often the
/// one that loses; each more costs as much again, and an attacker chooses when.
pub(super) const LIST_LOOKS: usize = 8;

/// The same in a long list, where each look counts a thousand neighbours.
pub(super) const LONG_LIST_LOOKS: usize = 4;

/// One in so many hosts that goes is the oldest of those looked at. With more, 24 hosts of a network that are asked first keep those of
/// another out of a short list for longer; at 1 no network comes together.
pub(super) const BY_AGE_EVERY: u64 = 4;

/// A source without a list takes that of another at one in so many of its hosts. At 1 hundreds of clients that ask many hosts take each
/// other's with each of them, which costs more than all else of a probe; with more a sweep is a few hosts late.
pub(super) const TAKE_EVERY: u64 = 4;

/// Clients that are inside ask many hosts: it takes this many times the threshold's hosts until they count as scanning. With less
/// browsers and peer-to-peer clients do.
pub(super) const INSIDE_FACTOR: u32 = 10;

/// Hosts of which a rule that counts hosts keeps apart who asked them. An ordinary host has as many addresses at most (with IPv6, its
/// broadcast addresses and a few containers): there the rule costs next to nothing. With fewer it does not; with more each probe
/// to one of them has to be compared with more.
pub(super) const FEW_HOSTS: usize = 8;

/// Probes that are kept until there are more hosts. With fewer, a sweep of a quiet network that is asked now and then begins
/// uncounted; with more, a host without a sweep has that much memory touched.
pub(super) const KEPT_PROBES: usize = 1_024;

// ---- Slower rules in a flood.

/// When this part of the doorkeeper was lost of sources that could have come back, a slower rule looks at half as many new ones. A
/// greater part, and it takes longer until any is remembered; a smaller one halves the share for a burst that would fit.
pub(super) const THINNED_AFTER: u64 = 8;

/// A flood is taken to go on for a quantum divided by this at least, and the share is what is right for that. Divided by more, and a long
/// flood costs more until the share is right; by less, and after a short burst few are looked at for minutes.
pub(super) const LEAST_FLOOD: u64 = 16;

/// And not beyond one in two to this power: at a million new sources a second some hundred remain, which any doorkeeper holds.
pub(super) const MOST_THINNED_BITS: u32 = 12;

// ---- Hosts that many ask for a few ports each.

/// Places for the ports of a host. A power of two; with more there are fewer hosts in the memory.
pub(super) const SLOTS: usize = 256;

/// Ports of a host that count at once, at most: three quarters of the places, so that the way to each stays short. A threshold can be no
/// greater.
pub const MOST_SLOTS: usize = 192;

/// Stretches of time in which new ports of a host are kept apart, to say when a scan by many began. One less must divide the quanta of a
/// window; with fewer a beginning is less exact, with more there are fewer hosts.
pub(super) const STRETCHES: usize = 16;

/// Hosts of which one must go for a new one. With fewer, hosts that are asked a lot push one another out by chance; with more each
/// new host costs as many looks.
pub(super) const TARGET_WAYS: usize = 8;

/// The share of the memory for the ports and sources of open scans by many. With less fewer are counted exactly at once; with
/// more there are fewer hosts.
pub(super) const WIDE_SHARE: (usize, usize) = (1, 8);

/// Registers of the estimate of the sources of a scan by many: its error is 3 %.
pub(super) const SOURCE_REGISTERS: usize = 1_024;

/// Sources of a scan by many that a record names. With more it outgrows a line of a log.
pub(super) const SAMPLE_SOURCES: usize = 8;

// ---- What came back.

/// Quanta that a port has to answer: a tenth of the window, a second by the first rule. With fewer, browsers that open many
/// connections at once to hosts far away have unanswered ports; with more, an alert says later how many ports were silent.
pub(super) const PATIENCE: u64 = 6;

/// What a source may have read of a connection when it ends it, for that to prove where it is, from the number of the answer on: a banner,
/// or the answer to a health check. With more a forger guesses sooner, with less clients of services that speak first prove nothing.
pub(super) const READ: u32 = 1_024;

/// Wrong numbers that are looked at. With more a forger guesses sooner (see `rows::proof`), with fewer a client of long answers, each of which
/// ends beyond `READ`, has none left when it scans.
pub(super) const GUESSES: u8 = 16;

// ---- Which hosts were asked.

/// Hosts of a source that are told apart. Their bits share a byte with the mark of a cell in use, so 7 is the most.
pub(super) const TRACKED_HOSTS: usize = 7;

/// Registers of the estimate of hosts beyond those. More lower its error (18 %) by the root, and do not fit the row.
pub(super) const REGISTERS: usize = 32;

// ---- Time.

/// Quanta in a window. A port remembers the quantum of its latest probe in one byte, in which quanta come round after 255: with
/// more than 127 of them one sweep a window could not tell a port that counts from an expired one. With fewer the window is less exact: 60
/// of them make it right to a sixtieth.
pub(super) const QUANTA: u64 = 60;

/// Epochs in a hold: a peak stays for the hold and at most a sixteenth more. Each costs a row two bytes.
pub(super) const EPOCHS: u64 = 16;

/// Epochs of a hold in which the ports of scans are counted: a count stays for the hold and at most a quarter of it longer. Each costs
/// 256 KiB.
pub const WANTED_EPOCHS: u64 = 4;

/// A jump back by more than this is a step of the clock, not disorder: one second. Less, and packets that overtook one
/// another on their way through several queues would count as steps; more, and a clock that is set back blinds for as long.
pub(super) const STEP_NANOS: i128 = 1_000_000_000;

/// No silence is longer, to the detector: everything it holds is gone after two days (window, quiet and hold are at most
/// one). Once half of all time is used up, what a stamp jumps beyond that is left out.
pub(super) const SILENCE_NANOS: i128 = 2 * 86_400 * 1_000_000_000;

/// Half of all time, in the year 2262. Each broken stamp of a file uses up as much as it jumps, and must not leave the detector
/// at the end of time, where every port is within the window. Sooner, and true stamps are moved; later, and a few more jumps
/// of a century reach the end.
pub(super) const HALF_TIME: u64 = u64::MAX / 2;

/// Steps whose times are reported exactly; of more within the life of a scan, the oldest are forgotten. Unbounded, a file of steps
/// would grow it; a handful would do for clocks that people set.
pub(super) const REMEMBERED_STEPS: usize = 32;

// ---- What is reported.

/// A scan is reported again each time its distinct ports have grown this many times. At 2 one nmap of all ports makes a dozen
/// records, at 10 three.
pub(super) const GROWN: u32 = 10;

/// Open scans of a rule that a snapshot has as they stand. Each is made anew at each tick, and a wide one takes some ten microseconds:
/// all together must not keep the capture waiting.
pub(crate) const SCANS_SHOWN: usize = 50;

/// How many of a scan's ports are named: the lowest. With more a record outgrows a line of a log.
pub const SAMPLE_PORTS: usize = 16;

/// Ranges in which a record names a scan's ports. With fewer the services that scanners want would leave no room for others; with
/// more a record outgrows a line of a log (a range takes up to twelve characters).
pub(super) const MOST_RANGES: usize = 32;

/// How many ranges of ignored ports are named: a list can hold all of them.
pub const NAMED_RANGES: usize = 16;

/// Upper bounds of the burst histogram; half-integers, so that `le` means exactly "fewer than", in Prometheus 2 and 3 alike.
pub const BURST_BOUNDS: [f64; 9] = [1.5, 2.5, 4.5, 9.5, 19.5, 49.5, 99.5, 499.5, 999.5];

/// Open scans that keep what their sources were called before a reload, of each rule. An attacker has a hundred thousand open, and all of
/// them would take ten MiB beside the tables; with fewer an ordinary network's scans would change their names while they go on.
pub(super) const ATTRIBUTED: usize = 1024;
