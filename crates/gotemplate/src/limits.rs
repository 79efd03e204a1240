//! What an execution may use up.

/// What an execution may use up; a template that exceeds a limit is broken or hostile.
///
/// ```
/// use gotemplate::{ErrorKind, Limits, Templates, Value};
///
/// let mut templates = Templates::new();
/// templates.set_limits(Limits::default().with_steps(1000).with_output_bytes(1 << 20));
/// templates.parse("endless", "{{ range until 100000 }}{{ end }}")?;
/// assert_eq!(templates.execute("endless", &Value::Nil).unwrap_err().kind(), ErrorKind::LimitExceeded);
/// # Ok::<(), gotemplate::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub(crate) steps: u64,
    pub(crate) output: usize,
    pub(crate) memory: usize,
    pub(crate) stack: usize,
    pub(crate) argument_bytes: usize,
    #[cfg_attr(not(feature = "regex"), allow(dead_code, reason = "set all the same"))]
    pub(crate) pattern: usize,
    pub(crate) functions: Functions,
}

/// Which functions templates may call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Functions {
    /// All of them.
    #[default]
    All,
    /// All but those whose cost does not depend on the size of their arguments (keys, certificates, ciphers, slow hashes)
    /// and those that compare every two elements of a list. A call of one of these is an error that names it.
    Inexpensive,
}

impl Limits {
    /// The default: more than any honest chart needs, with every function, as in Helm.
    pub const GENEROUS: Self = Self {
        steps: 20_000_000,
        output: 64 << 20,
        memory: 512 << 20,
        stack: 768 << 10,
        argument_bytes: usize::MAX,
        pattern: 10 << 20,
        functions: Functions::All,
    };

    /// Sets how many steps an execution may take: commands that are evaluated, and iterations of loops.
    #[must_use]
    pub const fn with_steps(self, steps: u64) -> Self {
        Self { steps, ..self }
    }

    /// Sets how many bytes templates may print.
    #[must_use]
    pub const fn with_output_bytes(self, output: usize) -> Self {
        Self { output, ..self }
    }

    /// Sets how many bytes functions may create in total, whether they are still needed or not.
    #[must_use]
    pub const fn with_memory_bytes(self, memory: usize) -> Self {
        Self { memory, ..self }
    }

    /// Sets how many bytes of the stack nested blocks, parentheses and templates may fill. The thread must have about a
    /// megabyte more, for what functions need.
    #[must_use]
    pub const fn with_stack_bytes(self, stack: usize) -> Self {
        Self { stack, ..self }
    }

    /// Sets how many bytes of arguments count as a step, so that reading a large value again and again is bounded, too.
    /// `usize::MAX`, the default, means that arguments do not count.
    #[must_use]
    pub const fn with_argument_bytes_per_step(self, argument_bytes: usize) -> Self {
        Self { argument_bytes, ..self }
    }

    /// Sets how many bytes one compiled regular expression may take.
    #[must_use]
    pub const fn with_pattern_bytes(self, pattern: usize) -> Self {
        Self { pattern, ..self }
    }

    /// Sets which functions templates may call.
    #[must_use]
    pub const fn with_functions(self, functions: Functions) -> Self {
        Self { functions, ..self }
    }

    /// See [`Limits::with_steps`].
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// See [`Limits::with_output_bytes`].
    #[must_use]
    pub const fn output_bytes(&self) -> usize {
        self.output
    }

    /// See [`Limits::with_memory_bytes`].
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// See [`Limits::with_stack_bytes`].
    #[must_use]
    pub const fn stack_bytes(&self) -> usize {
        self.stack
    }

    /// See [`Limits::with_pattern_bytes`].
    #[must_use]
    pub const fn pattern_bytes(&self) -> usize {
        self.pattern
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::GENEROUS
    }
}
