//! Calls a component that works on files with bare wasmtime. It reads and writes plain files in a directory.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use serde_json::Value;
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceAny, ResourceTable};
use wasmtime::{Config, Engine, Store};

use bindings::bivium::plugin::{blobs, host, types};
use bindings::exports::bivium::plugin::guest::Payload;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
        imports: { default: trappable },
        with: {
            "bivium:plugin/blobs.blob": super::FileBlob,
            "bivium:plugin/blobs.blob-writer": super::FileWriter,
        },
    });
}

const METHOD: &str = "execute";

/// The most bytes that one read returns.
const MAX_READ: u32 = 1 << 20;

/// A component, instantiated and initialized.
pub struct FileComponent {
    store: Store<State>,
    plugin: bindings::Plugin,
}

impl FileComponent {
    /// Compiles a component. Its files go to `directory`.
    pub fn load(path: &Path, directory: &Path) -> Result<Self> {
        let engine = Engine::new(&Config::new())?;
        let component = Component::from_file(&engine, path)?;
        let mut linker = Linker::new(&engine);
        bindings::Plugin::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        let state = State { table: ResourceTable::new(), directory: directory.to_owned(), files: 0 };
        let mut store = Store::new(&engine, state);
        let plugin = bindings::Plugin::instantiate(&mut store, &component, &linker)?;
        let done = plugin.bivium_plugin_guest().call_initialize(&mut store, &"{}".to_owned())?;
        done.map_err(|error| anyhow!("the guest refused its configuration: {error:?}"))?;
        Ok(Self { store, plugin })
    }

    /// One call without files.
    pub fn execute(&mut self, arguments: &Value) -> Result<Value> {
        Ok(serde_json::from_str(&self.call(METHOD, arguments, Vec::new())?.json)?)
    }

    /// Makes a call that returns a blob, with this file as the blob in the arguments. Returns the size of the result's blob.
    pub fn transform(&mut self, method: &str, arguments: &Value, file: &Path) -> Result<u64> {
        let blob = self.open(file, "application/octet-stream")?;
        let mut size = 0;
        for blob in self.call(method, arguments, vec![blob])?.blobs {
            size = self.store.data_mut().table.delete(blob)?.size;
        }
        Ok(size)
    }

    fn call(&mut self, method: &str, arguments: &Value, blobs: Vec<Resource<FileBlob>>) -> Result<Payload> {
        let input = Payload { json: arguments.to_string(), blobs };
        let guest = self.plugin.bivium_plugin_guest();
        let output = guest.call_execute(&mut self.store, method, &input)?;
        output.map_err(|error| anyhow!("the guest failed: {error:?}"))
    }

    fn open(&mut self, file: &Path, media_type: &str) -> Result<Resource<FileBlob>> {
        let (size, file) = (file.metadata()?.len(), Arc::new(File::open(file)?));
        Ok(self.store.data_mut().table.push(FileBlob { file, size, media_type: media_type.to_owned() })?)
    }

    /// Begins a streaming call with this file as the blob in the arguments.
    pub fn stream(&mut self, arguments: &Value, file: &Path) -> Result<Stream<'_>> {
        let blob = self.open(file, "audio/wav")?;
        let input = Payload { json: arguments.to_string(), blobs: vec![blob] };
        let (guest, method) = (self.plugin.bivium_plugin_guest(), METHOD.to_owned());
        let stream = guest.call_execute_stream(&mut self.store, &method, &input)?;
        let stream = stream.map_err(|error| anyhow!("the guest failed: {error:?}"))?;
        Ok(Stream { component: self, stream })
    }
}

/// A call's results. Each is made when it is asked for.
pub struct Stream<'a> {
    component: &'a mut FileComponent,
    stream: ResourceAny,
}

impl Stream<'_> {
    /// The next result; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Value>> {
        let FileComponent { store, plugin } = &mut *self.component;
        let next = plugin.bivium_plugin_guest().payload_stream().call_next(&mut *store, self.stream)?;
        let Some(payload) = next.map_err(|error| anyhow!("the guest failed: {error:?}"))? else { return Ok(None) };
        for blob in payload.blobs {
            store.data_mut().table.delete(blob)?;
        }
        Ok(Some(serde_json::from_str(&payload.json)?))
    }
}

struct State {
    table: ResourceTable,
    directory: PathBuf,
    files: usize,
}

#[derive(Clone)]
pub struct FileBlob {
    file: Arc<File>,
    size: u64,
    media_type: String,
}

pub struct FileWriter {
    file: File,
    size: u64,
    media_type: String,
}

impl types::Host for State {}
impl blobs::Host for State {}

impl blobs::HostBlob for State {
    fn media_type(&mut self, blob: Resource<FileBlob>) -> wasmtime::Result<String> {
        Ok(self.table.get(&blob)?.media_type.clone())
    }

    fn size(&mut self, blob: Resource<FileBlob>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&blob)?.size)
    }

    fn read(
        &mut self,
        blob: Resource<FileBlob>,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        let mut bytes = vec![0; len.min(MAX_READ) as usize];
        let read = self.table.get(&blob)?.file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(Ok(bytes))
    }

    fn clone(&mut self, blob: Resource<FileBlob>) -> wasmtime::Result<Resource<FileBlob>> {
        let blob = self.table.get(&blob)?.clone();
        Ok(self.table.push(blob)?)
    }

    fn drop(&mut self, blob: Resource<FileBlob>) -> wasmtime::Result<()> {
        self.table.delete(blob)?;
        Ok(())
    }
}

impl blobs::HostBlobWriter for State {
    fn new(&mut self, media_type: String) -> wasmtime::Result<Resource<FileWriter>> {
        self.files += 1;
        let path = self.directory.join(self.files.to_string());
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(self.table.push(FileWriter { file, size: 0, media_type })?)
    }

    fn write(&mut self, writer: Resource<FileWriter>, bytes: Vec<u8>) -> wasmtime::Result<Result<(), types::Error>> {
        let writer = self.table.get_mut(&writer)?;
        writer.file.write_all(&bytes)?;
        writer.size += bytes.len() as u64;
        Ok(Ok(()))
    }

    fn finish(&mut self, writer: Resource<FileWriter>) -> wasmtime::Result<Result<Resource<FileBlob>, types::Error>> {
        let FileWriter { file, size, media_type } = self.table.delete(writer)?;
        Ok(Ok(self.table.push(FileBlob { file: Arc::new(file), size, media_type })?))
    }

    fn drop(&mut self, writer: Resource<FileWriter>) -> wasmtime::Result<()> {
        self.table.delete(writer)?;
        Ok(())
    }
}

impl host::Host for State {
    fn log(&mut self, _: host::Level, _: String) -> wasmtime::Result<()> {
        Ok(())
    }

    fn report_progress(&mut self, _: Option<f64>, _: String) -> wasmtime::Result<()> {
        Ok(())
    }

    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn call_id(&mut self) -> wasmtime::Result<String> {
        Ok(String::new())
    }

    fn remaining_ms(&mut self) -> wasmtime::Result<Option<u64>> {
        Ok(None)
    }
}
