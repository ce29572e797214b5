//! How a layer's bytes are stored: as they are, by gzip or by Zstandard; and the way back.
//!
//! Blocks of one size are compressed apart, on several cores, and written in their order. Each is a gzip member or a
//! Zstandard frame of its own, and a row of those is one stream (RFC 1952, section 2.2; RFC 8878, section 3). So the
//! bytes don't depend on the number of cores, and the memory doesn't on the layer's size.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use flate2::read::MultiGzDecoder;
use libdeflater::CompressionLvl;
use oci_spec::image::MediaType;
use serde::{Deserialize, Serialize};

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is: for weights, which hardly compress.
    None,
    /// gzip: every engine reads it.
    Gzip,
    /// Zstandard: smaller, and quicker to unpack; read by Docker since 23 and containerd since 1.5.
    Zstd,
}

impl Compression {
    /// The layer's media type.
    pub fn media_type(self) -> MediaType {
        match self {
            Compression::None => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        }
    }

    /// What a layer of this media type is stored by; `None` where it is no layer of an OCI image.
    pub(super) fn of_media_type(media_type: &MediaType) -> Option<Self> {
        [Compression::None, Compression::Gzip, Compression::Zstd]
            .into_iter()
            .find(|compression| compression.media_type() == *media_type)
    }

    /// Reads what is `stored` as the tar that it holds. Memory is bounded, whatever is stored.
    pub(crate) fn reader<'a>(self, stored: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Compression::None => Box::new(stored),
            Compression::Gzip => Box::new(MultiGzDecoder::new(stored)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(stored)?;
                decoder.window_log_max(LARGEST_WINDOW)?;
                Box::new(decoder)
            }
        })
    }
}

/// How often a layer is packed, and so how much time its compression may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    /// Once on a machine: base and ONNX Runtime. Ten times as slow for 3 % less by gzip, 10 % by Zstandard.
    Once,
    /// With every build.
    Often,
}

/// Windows of Zstandard up to 2^27 bytes are read: as much as `zstd` itself does unless it is told otherwise.
const LARGEST_WINDOW: u32 = 27;

/// Bytes of the tar in one block: what it costs that a block can't refer to the one before is 0.1 %.
const BLOCK: usize = 4 << 20;

/// Most blocks that are compressed at once: each takes up to 50 MB.
const MOST_WORKERS: usize = 8;

/// Compresses what is written, on as many cores as the process may use.
pub(super) struct Compressor<W> {
    out: W,
    start: fn(Packed) -> io::Result<Codec>,
    packed: Packed,
    /// What is not given to a worker yet.
    block: Vec<u8>,
    /// The block with the number n is the work of the n-th of them, counted round and round.
    workers: Vec<Worker>,
    most_workers: usize,
    sent: usize,
    written: usize,
}

struct Worker {
    blocks: SyncSender<Vec<u8>>,
    done: Receiver<io::Result<Done>>,
}

struct Done {
    compressed: Vec<u8>,
    /// The block's memory, to be used again.
    block: Vec<u8>,
}

/// The compressor of one worker.
enum Codec {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Codec {
    fn gzip(packed: Packed) -> io::Result<Self> {
        // Measured on ONNX Runtime, base and service: 11 and 12 take up to twice the time of 10 for less than 0.1 %, and
        // 8 and 9 that of 6 for 0.5 %.
        let level = match packed {
            Packed::Once => 10,
            Packed::Often => 6,
        };
        let level = CompressionLvl::new(level).expect("levels go from 0 to 12");
        Ok(Codec::Gzip(libdeflater::Compressor::new(level)))
    }

    fn zstd(packed: Packed) -> io::Result<Self> {
        let level = match packed {
            Packed::Once => 19,
            Packed::Often => 9,
        };
        Ok(Codec::Zstd(zstd::bulk::Compressor::new(level)?))
    }

    /// A whole member or frame.
    fn compress(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Codec::Gzip(gzip) => {
                let mut out = vec![0; gzip.gzip_compress_bound(block.len())];
                let size = gzip.gzip_compress(block, &mut out).map_err(io::Error::other)?;
                out.truncate(size);
                Ok(out)
            }
            Codec::Zstd(zstd) => zstd.compress(block),
        }
    }
}

impl Worker {
    fn start(mut codec: Codec) -> io::Result<Self> {
        let (blocks, given) = sync_channel::<Vec<u8>>(1);
        let (answer, done) = channel();
        let work = move || {
            for mut block in given {
                let result = codec.compress(&block).map(|compressed| {
                    block.clear();
                    Done { compressed, block }
                });
                if answer.send(result).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("compress".into()).spawn(work)?;
        Ok(Worker { blocks, done })
    }
}

/// A worker that is gone has panicked.
fn lost<E>(_: E) -> io::Error {
    io::Error::other("a thread that compresses a layer ended")
}

impl<W: Write> Compressor<W> {
    /// Writes gzip to `out`: no name, no time, and 255, "unknown", for the system.
    pub(super) fn gzip(out: W, packed: Packed) -> Self {
        Compressor::new(out, Codec::gzip, packed)
    }

    /// Writes Zstandard to `out`.
    pub(super) fn zstd(out: W, packed: Packed) -> Self {
        Compressor::new(out, Codec::zstd, packed)
    }

    fn new(out: W, start: fn(Packed) -> io::Result<Codec>, packed: Packed) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most_workers = cores.min(MOST_WORKERS);
        Compressor { out, start, packed, block: Vec::new(), workers: Vec::new(), most_workers, sent: 0, written: 0 }
    }

    /// Compresses what is left; gives `out` back, unflushed.
    pub(super) fn finish(mut self) -> io::Result<W> {
        // A stream of nothing is an empty member, not nothing.
        if !self.block.is_empty() || self.sent == 0 {
            self.send()?;
        }
        while self.written < self.sent {
            self.collect()?;
        }
        Ok(self.out)
    }

    /// Gives the block to the worker whose turn it is.
    fn send(&mut self) -> io::Result<()> {
        // Each has one block in work and one waiting.
        let spare = if self.sent - self.written == 2 * self.most_workers { self.collect()? } else { Vec::new() };
        let turn = self.sent % self.most_workers;
        if turn == self.workers.len() {
            self.workers.push(Worker::start((self.start)(self.packed)?)?);
        }
        let block = std::mem::replace(&mut self.block, spare);
        self.workers[turn].blocks.send(block).map_err(lost)?;
        self.sent += 1;
        Ok(())
    }

    /// Writes the oldest block that is in work; gives its memory back.
    fn collect(&mut self) -> io::Result<Vec<u8>> {
        let Done { compressed, block } = self.workers[self.written % self.most_workers].done.recv().map_err(lost)??;
        self.written += 1;
        self.out.write_all(&compressed)?;
        Ok(block)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.send()?;
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Nothing: where blocks end must not depend on who flushes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that neither compress away nor not at all.
    fn text(size: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x1f
        };
        (0..size).map(|_| next()).collect()
    }

    fn compressed(bytes: &[u8], compression: Compression, workers: usize, piece: usize) -> Vec<u8> {
        let make = if compression == Compression::Gzip { Compressor::gzip } else { Compressor::zstd };
        let mut compressor = make(Vec::new(), Packed::Often);
        compressor.most_workers = workers;
        for piece in bytes.chunks(piece) {
            compressor.write_all(piece).unwrap();
            compressor.flush().unwrap();
        }
        compressor.finish().unwrap()
    }

    fn unpacked(stored: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.reader(stored)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn bytes_depend_neither_on_workers_nor_on_how_they_are_written() {
        let bytes = text(3 * BLOCK + 1000);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let one = compressed(&bytes, compression, 1, 1 << 16);
            assert!(one.len() < bytes.len() * 7 / 10, "{}", one.len());
            for (workers, piece) in [(2, 1 << 16), (3, 12_345), (8, bytes.len())] {
                assert!(compressed(&bytes, compression, workers, piece) == one, "{compression:?} {workers}");
            }
            assert!(unpacked(&one, compression).unwrap() == bytes);
        }
    }

    #[test]
    fn the_ends_of_blocks_are_no_ends_of_the_stream() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK] {
            let bytes = vec![7; size];
            for compression in [Compression::Gzip, Compression::Zstd] {
                let stored = compressed(&bytes, compression, 2, 1 << 20);
                assert!(!stored.is_empty());
                assert!(unpacked(&stored, compression).unwrap() == bytes, "{compression:?} {size}");
            }
        }
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let bytes = text(BLOCK + 100);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let stored = compressed(&bytes, compression, 2, 1 << 20);
            for cut in [1, 100, stored.len() / 2] {
                assert!(unpacked(&stored[..stored.len() - cut], compression).is_err(), "{compression:?} {cut}");
            }
            let mut trailing = stored.clone();
            trailing.extend(b"rubbish");
            let found = unpacked(&trailing, compression);
            assert!(found.is_err() || found.unwrap() == bytes);
        }
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut compressor = Compressor::gzip(Full, Packed::Often);
        let written = compressor.write_all(&vec![0; 40 * BLOCK]);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(compressor.finish().err().unwrap().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn media_types_come_back() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(Compression::of_media_type(&compression.media_type()), Some(compression));
        }
        assert_eq!(Compression::of_media_type(&MediaType::ImageConfig), None);
    }
}
