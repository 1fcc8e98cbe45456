//! Buffers that are lent, filled, sent and lent again: an object's bytes are
//! in memory once, and memory does not grow with the number of objects.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

/// Lends buffers and keeps a bounded number of them while they are idle.
/// Clones lend from the same pool.
///
/// It does not bound how many are lent: whoever takes one holds a permit for
/// the file it is for.
#[derive(Debug, Clone)]
pub struct BufferPool(Arc<Idle>);

#[derive(Debug)]
struct Idle {
    buffers: Mutex<Vec<Vec<u8>>>,
    most: usize,
    largest: usize,
}

impl BufferPool {
    /// Keeps at most `most` idle buffers, none with more than `largest` bytes
    /// of room; others are freed when they come back.
    pub fn new(most: usize, largest: usize) -> Self {
        BufferPool(Arc::new(Idle {
            buffers: Mutex::new(Vec::with_capacity(most)),
            most,
            largest,
        }))
    }

    /// An empty buffer: an idle one, with the room it once grew to, else a new
    /// one without any. Room is never filled beforehand, so that it takes real
    /// memory only as far as it has been written to.
    pub fn take(&self) -> Buffer {
        Buffer {
            bytes: self.0.lock().pop().unwrap_or_default(),
            pool: Arc::clone(&self.0),
        }
    }

    /// Frees the idle buffers: there will be nothing to do for a while.
    pub fn release(&self) {
        self.0.lock().clear();
    }

    /// How many buffers are idle.
    pub fn idle(&self) -> usize {
        self.0.lock().len()
    }
}

impl Idle {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        // No code that can panic runs under the lock: what it guards is whole.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer lent by a [`BufferPool`]; goes back to it when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<Idle>,
}

impl Buffer {
    /// The bytes in it, to be shared without a copy. The buffer goes back to
    /// its pool when the last of the clones is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        if bytes.capacity() == 0 || bytes.capacity() > self.pool.largest {
            return;
        }
        bytes.clear();
        let mut idle = self.pool.lock();
        if idle.len() < self.pool.most {
            idle.push(bytes);
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_the_last_clone_goes() {
        let pool = BufferPool::new(1, 1024);
        let mut buffer = pool.take();
        buffer.extend_from_slice(b"object");
        let address = buffer.as_ptr();
        let bytes = buffer.freeze();
        let part = bytes.slice(2..4);
        assert_eq!(
            (bytes.as_ptr(), bytes.as_ref()),
            (address, b"object".as_slice())
        );
        drop(bytes);
        assert_eq!((pool.idle(), part.as_ref()), (0, b"je".as_slice()));
        std::thread::spawn(move || drop(part)).join().unwrap();
        assert_eq!(pool.idle(), 1);

        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
    }

    #[test]
    fn idle_buffers_are_few_and_small() {
        let pool = BufferPool::new(1, 1024);
        let buffers = [512, 512, 4096].map(|size| {
            let mut buffer = pool.take();
            buffer.reserve_exact(size);
            buffer
        });
        let [small, other, large] = buffers;
        drop((pool.take(), large));
        assert_eq!(pool.idle(), 0, "neither one without room nor a large one");
        drop((small, other));
        assert_eq!(pool.idle(), 1);
        pool.release();
        assert_eq!(pool.idle(), 0);
    }
}
