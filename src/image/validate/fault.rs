//! What the validator can find wrong.

use std::fmt;

use crate::digest::Digest;

/// Something wrong with an image layout, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file in the layout, and within it the entry, as in `blobs/sha256/…: /etc/passwd`.
    pub place: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// A kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file that is named somewhere isn't there.
    #[error("it is missing")]
    Missing,
    /// A link, a folder or a device where a file should be.
    #[error("it is not a regular file")]
    NotAFile,
    /// The system refuses to read it.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// Its size isn't what its descriptor says.
    #[error("it has {found} bytes, its descriptor says {said}")]
    Size {
        /// By the descriptor.
        said: u64,
        /// On disk.
        found: u64,
    },
    /// Its bytes aren't those of its name.
    #[error("its digest is {found}")]
    Digest {
        /// Of the bytes on disk.
        found: Digest,
    },
    /// A descriptor's digest isn't a SHA-256 digest.
    #[error("a descriptor in it has a bad digest: {0}")]
    BadDigest(String),
    /// It isn't the JSON document that it should be.
    #[error("it doesn't parse: {0}")]
    Parse(String),
    /// It is of a version that this validator doesn't know.
    #[error("its version is `{0}`, which is unknown")]
    Version(String),
    /// Its media type isn't one that can stand there.
    #[error("the media type `{0}` can't stand here")]
    MediaType(String),
    /// An index without an image.
    #[error("it names no image")]
    Empty,
    /// Two entries of the index have one name.
    #[error("two of its entries are named `{0}`")]
    TwiceNamed(String),
    /// Indexes within indexes within indexes.
    #[error("indexes are nested too deep")]
    Depth,
    /// Not as many uncompressed digests as layers.
    #[error("it lists {diff_ids} uncompressed digests for {layers} layers")]
    DiffIdCount {
        /// In the configuration.
        diff_ids: usize,
        /// In the manifest.
        layers: usize,
    },
    /// A layer's content isn't what the configuration says.
    #[error("its content has the digest {found}, the configuration says {said}")]
    DiffId {
        /// By the configuration.
        said: String,
        /// Of the tar inside.
        found: Digest,
    },
    /// Its history tells of another number of layers.
    #[error("its history tells of {history} layers, the manifest lists {layers}")]
    HistoryCount {
        /// Entries of the history that made a layer.
        history: usize,
        /// In the manifest.
        layers: usize,
    },
    /// A field of the configuration has a value that engines refuse.
    #[error("its field `{field}` is `{value}`")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// The index says another platform than the configuration.
    #[error("it is for {found}, the index says {said}")]
    Platform {
        /// By the index.
        said: String,
        /// By the configuration.
        found: String,
    },
    /// The layer's tar or its compression is damaged.
    #[error("the layer is damaged: {0}")]
    Layer(String),
    /// One path twice in one layer.
    #[error("the path stands twice in the layer")]
    DuplicatePath,
    /// A path that leads out of the image.
    #[error("the path leads out of the image")]
    Escapes,
    /// A hard link whose target leads out of the image.
    #[error("it is a hard link that leads out of the image")]
    LinkEscapes,
    /// A path below something that isn't a folder.
    #[error("it stands below something that is not a folder")]
    BelowAFile,
    /// A device or pipe.
    #[error("it is a device or a pipe")]
    Special,
    /// More than the limits allow.
    #[error("it goes beyond the limit of {0}")]
    Limit(String),
    /// A file that nothing refers to.
    #[error("nothing refers to it")]
    Stray,
    /// There are more faults than are told.
    #[error("there are more faults than the {0} told")]
    More(usize),
}
