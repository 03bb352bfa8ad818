//! Beside the stages: what partners ask besides storing. `modality`: what a scanner is to do; `performed`: what it says it did.

pub mod modality;
pub mod performed;
mod performed_rules;
mod step_item;

#[cfg(test)]
mod tests;
