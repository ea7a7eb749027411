//! Calls a typed function with bare wasmtime, as generated bindings do.

use anyhow::Result;
use wasmtime::Store;
use wasmtime::component::{Component, Lift, Linker, Lower, TypedFunc};

use super::component::Bare;

/// A function that takes a list and returns a list.
pub struct Typed<T: Lift + Lower + Send + Sync + 'static> {
    store: Store<()>,
    function: TypedFunc<(Vec<T>,), (Vec<T>,)>,
}

impl<T: Lift + Lower + Send + Sync + 'static> Typed<T> {
    pub async fn new(bare: &Bare, component: &Component, name: &str) -> Result<Self> {
        let mut store = bare.store();
        let instance = Linker::new(component.engine()).instantiate_async(&mut store, component).await?;
        let function = instance.get_typed_func(&mut store, name)?;
        Ok(Self { store, function })
    }

    pub async fn call(&mut self, list: Vec<T>) -> Result<Vec<T>> {
        Ok(self.function.call_async(&mut self.store, (list,)).await?.0)
    }
}
