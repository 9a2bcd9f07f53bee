//! One principal cannot take the service from the others.

mod rates;
mod shares;
