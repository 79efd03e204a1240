//! What an execution may use up.

use std::collections::BTreeMap;
use std::rc::Rc;

#[cfg(feature = "random")]
use chacha20::{ChaCha20Rng, rand_core::SeedableRng as _};

use super::Failure;
use crate::error::ErrorKind;
use crate::functions::{Function, Run};
use crate::limits::{Functions, Limits};
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
        self.steps =
            left.ok_or_else(|| Failure::limit("the templates take more steps than the limit allows"))?;
        Ok(())
    }

    /// Makes sure that a function may be called.
    pub(crate) fn check_function(&self, function: &Function) -> Result<(), Failure> {
        let name = function.name;
        let reason = match function.run {
            _ if self.functions == Functions::Inexpensive && function.is_expensive() => {
                "it is too expensive for this rendering".to_owned()
            }
            Run::Missing(feature) => {
                format!("the program was built without the feature {feature:?} of gotemplate")
            }
            _ => return Ok(()),
        };
        let message = format!("function {name:?} is disabled: {reason}");
        Err(Failure::Message(ErrorKind::DisabledFunction, message))
    }

    /// Takes the steps that a call is worth, which reads each byte of the arguments that `reads` so many times.
    pub(crate) fn read(
        &mut self,
        arguments: &[Value],
        reads: impl Fn(&Value) -> usize,
    ) -> Result<(), Failure> {
        if self.argument_bytes == usize::MAX {
            return Ok(());
        }
        let most = usize::try_from(self.steps).unwrap_or(usize::MAX).saturating_mul(self.argument_bytes);
        let bytes = arguments
            .iter()
            .map(|argument| match reads(argument) {
                0 => 0,
                times => total_size(argument, most).saturating_mul(times),
            })
            .fold(0, usize::saturating_add);
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
            return Err(Failure::limit("templates are nested too deeply or call themselves endlessly"));
        }
        Ok(())
    }

    /// Takes memory for what a function made.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.memory.checked_sub(bytes);
        self.memory =
            left.ok_or_else(|| Failure::limit("the templates make more data than the limit allows"))?;
        Ok(())
    }

    /// Takes room in the output.
    pub(crate) fn print(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.output.checked_sub(bytes);
        self.output = left.ok_or_else(|| Failure::limit("the output is larger than the limit allows"))?;
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
            return Err(Failure::limit(&format!(
                "rendering template has a nested reference name: {name}: unable to execute template"
            )));
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
