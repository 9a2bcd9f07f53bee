//! One principal cannot take the service from the others.

mod flood;
mod rates;
mod shares;
