//! The contract of every store, and what each promises beyond it, tried on real files and a real etcd.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod full;
#[cfg(test)]
mod promises;
#[cfg(test)]
mod server;
