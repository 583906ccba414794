//! The environment, as a function from outside, so that tests need not change it.
//!
//! Invariant: a variable that is empty or blank is none, as compose files and `--env-file`s leave them behind; it is here
//! that they are left out. Called by `options::parse`, which makes it, and read by the options of every command.

/// Variables and their values.
#[derive(Clone, Copy)]
pub struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// The value of a variable, if it has one.
    pub fn get(self, name: &str) -> Option<String> {
        self.even_empty(name).filter(|value| !value.trim().is_empty())
    }

    /// The value of a variable that is set, be it to nothing: for what must not pass for absent.
    pub fn even_empty(self, name: &str) -> Option<String> {
        (self.0)(name)
    }

    /// The value of a variable, as it is written, if that is `1`, `true`, `yes` or `on`, in any case.
    pub fn switched_on(self, name: &str) -> Option<String> {
        self.get(name).filter(|text| ["1", "true", "yes", "on"].contains(&text.trim().to_ascii_lowercase().as_str()))
    }
}
