//! Reusable byte buffers: what a shard keeps of a message lives in them.
//!
//! For: keeping a request for its retransmission without a heap allocation per message.
//! Not here: what is kept and for how long (`transaction/`).
//! Invariants: a pool hands out empty buffers; it retains at most `RETAINED_MAX` of each class.

use crate::transport::Flow;

/// Bytes that came from a [`Pool`] and go back to it.
pub type Buffer = Vec<u8>;

/// Capacities of the classes. A guess around measured SIP sizes: replies of 350 to 500 bytes,
/// requests of 500 to 1,500, the rest rare.
const CLASSES: [usize; 5] = [512, 1024, 2048, 8192, 65_536];
/// How many free buffers a class retains; beyond, they go back to the allocator.
const RETAINED_MAX: [usize; 5] = [65_536, 65_536, 4096, 256, 32];

/// Free buffers of one shard, by size class.
#[derive(Debug, Default)]
pub struct Pool {
    free: [Vec<Buffer>; 5],
}

impl Pool {
    /// An empty buffer that holds `length` bytes without growing.
    pub fn take(&mut self, length: usize) -> Buffer {
        let Some(class) = CLASSES.iter().position(|&size| length <= size) else {
            return Buffer::with_capacity(length);
        };
        match self.free.get_mut(class).and_then(Vec::pop) {
            Some(buffer) => buffer,
            None => Buffer::with_capacity(CLASSES[class]),
        }
    }

    /// A buffer holding a copy of `bytes`.
    pub fn copy(&mut self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.take(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Takes a buffer back.
    pub fn put(&mut self, mut buffer: Buffer) {
        buffer.clear();
        let class = CLASSES.iter().rposition(|&size| buffer.capacity() >= size);
        let Some(class) = class else { return };
        if let (Some(free), Some(&most)) = (self.free.get_mut(class), RETAINED_MAX.get(class))
            && free.len() < most
        {
            free.push(buffer);
        }
    }

    /// Bytes held by free buffers.
    pub fn retained_bytes(&self) -> usize {
        self.free.iter().flatten().map(Buffer::capacity).sum()
    }
}

/// A message that is kept because it may have to be sent again, with the flow it goes to.
#[derive(Debug)]
pub struct Kept {
    /// Where it was sent.
    pub flow: Flow,
    /// The bytes as they were sent.
    pub bytes: Buffer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_handed_out_again() {
        let mut pool = Pool::default();
        let buffer = pool.copy(b"INVITE");
        let address = buffer.as_ptr();
        pool.put(buffer);
        let again = pool.take(100);
        assert_eq!(again.as_ptr(), address);
        assert!(again.is_empty());
    }

    #[test]
    fn longer_than_the_largest_class_is_still_served() {
        let mut pool = Pool::default();
        assert!(pool.take(100_000).capacity() >= 100_000);
    }

    #[test]
    fn a_grown_buffer_moves_to_a_larger_class() {
        let mut pool = Pool::default();
        let mut buffer = pool.take(10);
        buffer.resize(2048, 0);
        pool.put(buffer);
        assert!(pool.take(2000).capacity() >= 2000);
    }
}
