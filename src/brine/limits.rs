//! [`Limits`]: how much one value may ask for.

/// What one value may hold at most; checked before anything is allocated.
///
/// Memory needs no limit of its own. A decoded value costs at most [`size_of::<Value>()`] and one
/// allocation for each byte of its input, since a tuple cannot claim more items than the input
/// still holds bytes, and the frame's size is limited where frames are read.
///
/// [`size_of::<Value>()`]: super::Value
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// See [`Limits::depth`].
    pub depth: usize,
    /// See [`Limits::items`].
    pub items: usize,
    /// See [`Limits::digits`].
    pub digits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Limits {
    /// Depth 64, 1,048,576 items, 4,300 digits.
    pub const DEFAULT: Self = Self {
        depth: 64,
        items: 1 << 20,
        // sys.int_info.default_max_str_digits: CPython refuses longer ones, both ways.
        digits: 4_300,
    };

    /// How many tuples, slices and frozen sets may stand inside each other; default 64.
    ///
    /// Reading and writing recurse, so a much larger value costs stack: stay below 1,000, where
    /// Python itself gives up.
    pub const fn depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// How many items all tuples and frozen sets of one input may have together; default
    /// 1,048,576. Each costs the memory of one `Value`.
    pub const fn items(mut self, items: usize) -> Self {
        self.items = items;
        self
    }

    /// How many decimal digits an integer may have, leading zeros included; default 4,300.
    /// The time to read one grows with the square of its length.
    pub const fn digits(mut self, digits: usize) -> Self {
        self.digits = digits;
        self
    }
}
