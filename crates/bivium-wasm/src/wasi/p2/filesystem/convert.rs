//! Converts the capability's results to the types of `wasi:filesystem`.

use bivium_interface::Blob;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue, OpenFlags,
};
use wasmtime_wasi::p2::{FsError, FsResult};

use crate::capability::files::Refused;

impl From<Refused> for FsError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotPermitted => ErrorCode::NotPermitted.into(),
            Refused::NoEntry => ErrorCode::NoEntry.into(),
            Refused::NotDirectory => ErrorCode::NotDirectory.into(),
            Refused::CrossDevice => ErrorCode::CrossDevice.into(),
            Refused::TooManyOpen => ErrorCode::Quota.into(),
            Refused::TooMuch => ErrorCode::InsufficientMemory.into(),
            Refused::NoSpace => ErrorCode::InsufficientSpace.into(),
            Refused::Failed => ErrorCode::Io.into(),
            Refused::System(error) => error.into(),
            Refused::NoHandle(error) => error.into(),
        }
    }
}

/// Whether a blob may be opened in this way: only for reading.
pub(super) fn for_reading(how: OpenFlags, flags: DescriptorFlags) -> FsResult<()> {
    let writes = DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY;
    if how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::EXCLUSIVE) || flags.intersects(writes) {
        return Err(ErrorCode::NotPermitted.into());
    }
    if how.contains(OpenFlags::DIRECTORY) { Err(ErrorCode::NotDirectory.into()) } else { Ok(()) }
}

pub(super) fn stat(blob: &Blob) -> DescriptorStat {
    DescriptorStat {
        type_: DescriptorType::RegularFile,
        link_count: 1,
        size: blob.size(),
        data_access_timestamp: None,
        data_modification_timestamp: None,
        status_change_timestamp: None,
    }
}

/// A hash that is different for each blob of a call.
pub(super) fn hash(n: usize) -> MetadataHashValue {
    MetadataHashValue { lower: n as u64, upper: 0x626c_6f62 }
}
