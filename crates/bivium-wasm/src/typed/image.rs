//! [`Image`]: arguments laid out for a component's memory.
//!
//! They are laid out before the guest is called, so that a wrong argument does not reach it; then the host only has to allocate memory in
//! the guest and copy. A value takes the same space here as there: one byte for a `bool`, or for an empty option.

/// The block of the arguments themselves.
pub(crate) const ROOT: usize = 0;

/// Blocks of memory, each after the one that points to it.
pub(crate) struct Image {
    pub(super) blocks: Vec<Block>,
}

/// One allocation in the component's memory.
pub(super) struct Block {
    /// The block that points to this one, and the offset of the pointer and the length in it.
    pub(super) parent: u32,
    pub(super) at: u32,
    /// The length, in items.
    pub(super) count: u32,
    pub(super) align: u32,
    pub(super) data: Data,
}

pub(super) enum Data {
    /// Converted to the component's encoding later.
    Text(String),
    Bytes(Vec<u8>),
}

/// The bytes of one block in addition to its data. While the list of blocks grows, the old and the new list exist, and the new one is
/// twice as long.
pub(super) const BLOCK: usize = 3 * (size_of::<Block>() + size_of::<u32>());

impl Image {
    /// An image with space for the arguments themselves.
    pub(super) fn new(size: usize, align: u32) -> Self {
        Self { blocks: vec![Block { parent: 0, at: 0, count: 0, align, data: Data::Bytes(vec![0; size]) }] }
    }

    /// Writes bytes at an offset of a block.
    pub(super) fn put(&mut self, block: usize, at: usize, bytes: &[u8]) {
        match self.bytes_from(block, at).get_mut(..bytes.len()) {
            Some(data) => data.copy_from_slice(bytes),
            None => debug_assert!(false, "an offset outside its block"),
        }
    }

    /// A block's bytes from this offset on.
    pub(super) fn bytes_from(&mut self, block: usize, at: usize) -> &mut [u8] {
        let data = self.blocks.get_mut(block).and_then(|block| match &mut block.data {
            Data::Bytes(data) => data.get_mut(at..),
            Data::Text(_) => None,
        });
        data.unwrap_or_default()
    }

    /// Adds a block, to which offset `at` of `parent` points, and returns its number.
    pub(super) fn add(&mut self, parent: usize, at: usize, count: usize, align: u32, data: Data) -> usize {
        // All fit into 32 bits: together they are smaller than a component's memory can be.
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.blocks.push(Block { parent: short(parent), at: short(at), count: short(count), align, data });
        self.blocks.len() - 1
    }
}
