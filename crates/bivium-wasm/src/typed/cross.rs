//! Passes values to the component and back: implements the engine's traits, which are meant for types known at compile time, for types
//! that are known when a component is loaded.
//!
//! The engine's own dynamic type is `Val`: it takes at least 32 bytes even for a bool, and is made for a whole result before the host can
//! count it, check the clock or stop. So arguments are copied from an [`Image`] instead, and results are read where they lie in the
//! component's memory.
//!
//! The traits are unsafe, since the engine calls a component's function with as many numbers as [`Lower::Lower`] holds. This is always
//! enough: whatever its types are, a function takes at most 16 numbers and returns at most one; anything larger lies in memory. All
//! numbers are written before the call. A wrong number only has a meaning to the guest, which can do no more with it than with a right
//! one.
//!
//! [`Lower::Lower`]: ComponentType::Lower

use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, PoisonError};

use bivium_instances::document::{DocumentLimits, Pace};
use bivium_interface::PluginError;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{ComponentNamedList, ComponentType, Func, Lift, Lower};
use wasmtime::{Result, Store, ValRaw, bail};

use super::flat;
use super::image::{self, Data, Image};
use super::memory::{GuestMemory, aligned};
use super::method::{Method, Outcome};
use super::write::Writer;
use crate::state::HostState;

/// The most numbers that a function takes.
const PARAMS: usize = 16;

/// The data that a call needs to read its result.
pub(super) struct Lifting {
    pub(super) method: Arc<Method>,
    pub(super) limits: DocumentLimits,
    pub(super) pace: Pace,
}

tokio::task_local! {
    /// The data of the call that is being polled; a task local, since the engine's trait passes no context.
    static LIFTING: Lifting;
}

/// Calls a function with these arguments.
pub(super) async fn call(
    store: &mut Store<HostState>,
    function: Func,
    image: Image,
    lifting: Lifting,
) -> Result<bivium_interface::Result<Outcome>> {
    let lowering =
        Lowering { method: Arc::clone(&lifting.method), image: Mutex::new(Some(image)), pace: lifting.pace.clone() };
    let function = function.typed::<Lowering, Lifted>(&*store)?;
    let lifted = LIFTING.scope(lifting, function.call_async(store, lowering)).await?;
    Ok(lifted.0)
}

/// The arguments of one call.
struct Lowering {
    method: Arc<Method>,
    /// `None` once it has been copied.
    image: Mutex<Option<Image>>,
    pace: Pace,
}

/// The result of one call.
struct Lifted(bivium_interface::Result<Outcome>);

/// The layout of this many numbers that are passed directly.
const fn numbers(count: u8) -> CanonicalAbiInfo {
    CanonicalAbiInfo { flat_count: Some(count), ..CanonicalAbiInfo::ZERO }
}

#[expect(unsafe_code, reason = "see above")]
// SAFETY: `Lower` is made of `ValRaw`s, as many as a function can take.
unsafe impl ComponentType for Lowering {
    type Lower = [ValRaw; PARAMS];
    #[expect(clippy::cast_possible_truncation, reason = "16")]
    const ABI: CanonicalAbiInfo = numbers(PARAMS as u8);

    /// Checked against the real type when it is lowered.
    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

#[expect(unsafe_code, reason = "see above")]
// SAFETY: as for `ComponentType`.
unsafe impl ComponentNamedList for Lowering {}

#[expect(unsafe_code, reason = "see above")]
// SAFETY: all of `dst` is written.
unsafe impl Lower for Lowering {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let numbers = dst.write([ValRaw::u64(0); PARAMS]);
        same_layout(cx.types.canonical_abi(&ty), self.method.frame())?;
        let image = self.image.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(image) = image else { bail!("arguments are lowered twice") };
        for (number, lowered) in numbers.iter_mut().zip(self.lower(cx, image)?) {
            *number = lowered;
        }
        Ok(())
    }

    fn linear_lower_to_memory<T>(&self, _: &mut LowerContext<'_, T>, _: InterfaceType, _: usize) -> Result<()> {
        bail!("arguments are passed as numbers")
    }
}

impl Lowering {
    /// Copies the image into the component's memory, and returns the numbers with which the function is called.
    fn lower<T>(&self, cx: &mut LowerContext<'_, T>, image: Image) -> Result<Vec<ValRaw>> {
        let in_numbers = self.method.frame().flat_count(PARAMS).is_some();
        let mut places: Vec<usize> = Vec::with_capacity(image.blocks.len());
        let mut root = Vec::new();
        for block in image.blocks {
            self.pace.look()?;
            let is_root = places.is_empty();
            let (place, count) = match block.data {
                Data::Bytes(bytes) if is_root && in_numbers => {
                    root = bytes;
                    (0, 0)
                }
                Data::Bytes(bytes) => {
                    let place = allocate(cx, bytes.len(), block.align)?;
                    copy(cx.as_slice_mut(), place, &bytes)?;
                    (place, block.count)
                }
                Data::Text(text) => self.text(cx, &text)?,
            };
            places.push(place);
            if is_root {
                continue;
            }
            let [a, b, c, d] = u32::try_from(place)?.to_le_bytes();
            let [e, f, g, h] = count.to_le_bytes();
            let (pair, at, parent) = ([a, b, c, d, e, f, g, h], block.at as usize, block.parent as usize);
            match places.get(parent) {
                _ if parent == image::ROOT && in_numbers => copy(&mut root, at, &pair)?,
                Some(parent) => copy(cx.as_slice_mut(), parent.saturating_add(at), &pair)?,
                None => bail!("a block comes before the one that points to it"),
            }
        }
        if !in_numbers {
            let place = places.first().copied().unwrap_or_default();
            return Ok(vec![ValRaw::u32(u32::try_from(place)?)]);
        }
        self.method.flatten(&root).ok_or_else(|| wasmtime::format_err!("the arguments are not laid out correctly"))
    }

    /// Writes a string; the engine converts it to the component's encoding.
    fn text<T>(&self, cx: &mut LowerContext<'_, T>, text: &str) -> Result<(usize, u32)> {
        let mut pair = MaybeUninit::new([ValRaw::u64(0); 2]);
        text.linear_lower_to_flat(cx, InterfaceType::String, &mut pair)
            .or_else(|error| out_of_memory(cx, text.len(), error))?;
        #[expect(unsafe_code, reason = "it was written when it was made")]
        // SAFETY: it was written when it was made.
        let [place, count] = unsafe { pair.assume_init() };
        Ok((place.get_u32() as usize, count.get_u32()))
    }
}

fn copy(memory: &mut [u8], at: usize, bytes: &[u8]) -> Result<()> {
    match memory.get_mut(at..at.saturating_add(bytes.len())) {
        Some(to) => to.copy_from_slice(bytes),
        None => bail!("an address outside the component's memory"),
    }
    Ok(())
}

/// Allocates memory in the guest.
fn allocate<T>(cx: &mut LowerContext<'_, T>, size: usize, align: u32) -> Result<usize> {
    cx.realloc(0, 0, align, size).or_else(|error| out_of_memory(cx, size, error))
}

/// If the guest's allocator returns an address outside its memory for more than the whole memory, it has no bug but too little memory.
fn out_of_memory<T, O>(cx: &mut LowerContext<'_, T>, size: usize, error: wasmtime::Error) -> Result<O> {
    let has = cx.as_slice_mut().len();
    if size <= has || error.is::<wasmtime::Trap>() {
        return Err(error);
    }
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    Err(wasmtime::Error::new(
        PluginError::resource_exhausted(format!(
            "the arguments need {} MiB in one piece of the component's memory, which has {} MiB and did not grow",
            mib(size),
            mib(has)
        ))
        .with_help(
            "pass large data in pieces, or build the component with a memory that grows, up to \
                    `limits.memory_mb` of its manifest",
        ),
    ))
}

#[expect(unsafe_code, reason = "see above")]
// SAFETY: `Lower` is made of one `ValRaw`, and a function gives at most one.
unsafe impl ComponentType for Lifted {
    type Lower = [ValRaw; 1];
    const ABI: CanonicalAbiInfo = numbers(1);

    /// Checked against the real type when it is lifted.
    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

#[expect(unsafe_code, reason = "see above")]
// SAFETY: as for `ComponentType`.
unsafe impl ComponentNamedList for Lifted {}

#[expect(unsafe_code, reason = "see above")]
// SAFETY: every number is a valid one here.
unsafe impl Lift for Lifted {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> Result<Self> {
        let lifted = LIFTING.try_with(|lifting| lifting.lift(cx, ty, src));
        lifted.unwrap_or_else(|_| bail!("a result is lifted outside of its call"))
    }

    fn linear_lift_from_memory(_: &mut LiftContext<'_>, _: InterfaceType, _: &[u8]) -> Result<Self> {
        bail!("a result is one number")
    }
}

impl Lifting {
    fn lift(&self, cx: &mut LiftContext<'_>, ty: InterfaceType, [number]: &[ValRaw; 1]) -> Result<Lifted> {
        let layout = cx.types.canonical_abi(&ty);
        let Some(result) = self.method.result() else {
            same_layout(layout, &CanonicalAbiInfo::ZERO)?;
            return Ok(Lifted(Ok(Outcome::default())));
        };
        same_layout(layout, result.abi())?;
        let encoding = cx.options().string_encoding;
        let scratch;
        let (memory, at) = if layout.flat_count(1).is_some() {
            let (bytes, size) = flat::lay_out(result, number).map_err(returned)?;
            scratch = bytes;
            (scratch.get(..size).unwrap_or_default(), 0)
        } else {
            (cx.memory(), number.get_u32() as usize)
        };
        aligned(at, result.align()).map_err(returned)?;
        let writer = Writer::new(GuestMemory::new(memory, encoding), self.limits, self.pace.clone());
        self.method.outcome(writer, at).map(Lifted).map_err(returned)
    }
}

fn returned(broken: super::memory::Broken) -> wasmtime::Error {
    wasmtime::format_err!("it returned {}", broken.0)
}

/// The engine's layout must be the same as the one with which the values were laid out.
fn same_layout(engine: &CanonicalAbiInfo, computed: &CanonicalAbiInfo) -> Result<()> {
    let of = |abi: &CanonicalAbiInfo| (abi.size32, abi.align32, abi.flat_count(PARAMS));
    if of(engine) == of(computed) { Ok(()) } else { bail!("the engine uses another layout for these types") }
}
