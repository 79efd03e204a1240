//! What an execution may use up.

use std::collections::BTreeMap;
use std::rc::Rc;

#[cfg(feature = "random")]
use chacha20::{ChaCha20Rng, rand_core::SeedableRng as _};

use super::Failure;
use crate::functions::{Function, Run};
use crate::templates::{Functions, Limits};
use crate::value::{Value, total_size};

/// Templates of one name that include themselves, as in Helm.
const INCLUDE_LIMIT: usize = 1000;

/// What is left for a whole execution, includes and all.
pub(crate) struct Budget {
    steps: u64,
    memory: usize,
    output: usize,
    stack: usize,
    argument_bytes: usize,
    #[cfg(feature = "regex")]
    pattern: usize,
    functions: Functions,
    /// Where the stack was when the execution began.
    bottom: usize,
    includes: BTreeMap<Rc<str>, usize>,
    #[cfg(feature = "random")]
    random: Option<ChaCha20Rng>,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            steps: limits.steps,
            memory: limits.memory,
            output: limits.output,
            stack: limits.stack,
            argument_bytes: limits.argument_bytes,
            #[cfg(feature = "regex")]
            pattern: limits.pattern,
            functions: limits.functions,
            bottom: stack_position(),
            includes: BTreeMap::new(),
            #[cfg(feature = "random")]
            random: None,
        }
    }

    /// Takes one step.
    pub(crate) fn step(&mut self) -> Result<(), Failure> {
        self.steps(1)
    }

    /// Takes as many steps as something slow is worth.
    pub(crate) fn steps(&mut self, count: u64) -> Result<(), Failure> {
        let left = self.steps.checked_sub(count);
        self.steps = left.ok_or("the templates take more steps than any chart should")?;
        Ok(())
    }

    /// Makes sure that a function may be called.
    pub(crate) fn check_function(&self, function: &Function) -> Result<(), Failure> {
        if self.functions == Functions::Inexpensive && function.is_expensive() {
            return Err(format!(
                "function {:?} is disabled: it is too expensive for this rendering",
                function.name
            )
            .into());
        }
        if let Run::Missing(feature) = function.run {
            return Err(format!(
                "function {:?} is disabled: the program was built without the feature {feature:?} of gotemplate",
                function.name
            )
            .into());
        }
        Ok(())
    }

    /// Takes the steps that reading the arguments of a function is worth.
    pub(crate) fn read(&mut self, function: &Function, arguments: &[Value]) -> Result<(), Failure> {
        if self.argument_bytes == usize::MAX {
            return Ok(());
        }
        let most = usize::try_from(self.steps).unwrap_or(usize::MAX).saturating_mul(self.argument_bytes);
        let bytes = arguments
            .iter()
            .map(|argument| if function.passes_through(argument) { 0 } else { total_size(argument, most) })
            .fold(0, usize::saturating_add)
            .saturating_mul(function.reads());
        self.steps(bytes.div_euclid(self.argument_bytes.max(1)) as u64)
    }

    /// Bytes of one compiled regular expression.
    #[cfg(feature = "regex")]
    pub(crate) fn pattern(&self) -> usize {
        self.pattern
    }

    /// Makes sure that the stack holds what comes next.
    ///
    /// What is measured is the stack itself: how much of it a level of nesting needs depends on the compiler.
    pub(crate) fn check_stack(&self) -> Result<(), Failure> {
        if stack_position().abs_diff(self.bottom) > self.stack {
            return Err("templates are nested too deeply, or call themselves without end".into());
        }
        Ok(())
    }

    /// Takes memory for what a function made.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.memory.checked_sub(bytes);
        self.memory = left.ok_or("the templates make more data than any chart should")?;
        Ok(())
    }

    /// Takes room in the output.
    pub(crate) fn print(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.output.checked_sub(bytes);
        self.output = left.ok_or("the output is larger than any manifest should be")?;
        Ok(())
    }

    /// Where random numbers come from, which begin at the seed.
    #[cfg(feature = "random")]
    pub(crate) fn random(&mut self, seed: Option<[u8; 32]>) -> Option<&mut ChaCha20Rng> {
        if self.random.is_none() {
            self.random = seed.map(ChaCha20Rng::from_seed);
        }
        self.random.as_mut()
    }

    pub(crate) fn enter_include(&mut self, name: &str) -> Result<(), Failure> {
        let count = self.includes.entry(Rc::from(name)).or_default();
        if *count > INCLUDE_LIMIT {
            return Err(format!(
                "rendering template has a nested reference name: {name}: unable to execute template"
            )
            .into());
        }
        *count += 1;
        Ok(())
    }

    pub(crate) fn leave_include(&mut self, name: &str) {
        if let Some(count) = self.includes.get_mut(name) {
            *count = count.saturating_sub(1);
        }
    }
}

/// An address on the stack of the caller.
#[inline(never)]
fn stack_position() -> usize {
    let marker = 0u8;
    std::ptr::from_ref(std::hint::black_box(&marker)).addr()
}
