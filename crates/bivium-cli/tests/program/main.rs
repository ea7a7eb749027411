//! The program as its users meet it: command lines in, standard output, standard error and exit status out.

mod checks;
mod place;
mod saved;
mod usage;
mod worker;
