//! The filter of the kernel programs, in maps: set before anything is attached, and changed while
//! they run.

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap},
};
use rstblame_abi::{Config, config_flag, port_filter::Watch};

use super::{error::KernelError, maps::open, options::Budgets};
use crate::model::ports::PortSet;

/// Sets the filter. `netns`: inode numbers of the watched namespaces; `None` for all.
pub(super) fn set(ebpf: &mut Ebpf, ports: &PortSet, netns: Option<&[u32]>, budgets: Budgets) -> Result<(), KernelError> {
    set_ports(ebpf, ports.ports())?;
    set_budgets(ebpf, budgets)?;
    if let Some(netns) = netns {
        add_netns(ebpf, netns)?;
        pick_netns(ebpf, true)?;
    }
    Ok(())
}

/// Changes the filter under running programs. They read one word or entry at a time, so what is in
/// both filters passes at every moment: first everything of either is let through, then what is
/// only in the old one is taken away.
pub(super) fn change(
    ebpf: &mut Ebpf,
    (old_ports, old_netns): (&PortSet, Option<&[u32]>),
    (ports, netns): (&PortSet, Option<&[u32]>),
) -> Result<(), KernelError> {
    set_ports(ebpf, old_ports.ports().chain(ports.ports()))?;
    if let Some(netns) = netns {
        add_netns(ebpf, netns)?;
    }
    pick_netns(ebpf, netns.is_some())?;
    let kept = netns.unwrap_or_default();
    let mut map: HashMap<_, u32, u8> = open(ebpf, "NETNS")?;
    for inode in old_netns.unwrap_or_default().iter().filter(|inode| !kept.contains(inode)) {
        map.remove(inode).map_err(|error| KernelError::map("NETNS", error))?;
    }
    set_ports(ebpf, ports.ports())
}

fn set_ports(ebpf: &mut Ebpf, ports: impl Iterator<Item = u16>) -> Result<(), KernelError> {
    watch(ebpf, |watch| {
        *watch = Watch { netns: watch.netns, ..Watch::NOTHING };
        ports.for_each(|port| watch.add(port));
    })
}

/// Tells the programs which namespace all packets are from, or by 0 that they have to ask.
pub(super) fn set_only_netns(ebpf: &mut Ebpf, netns: u32) -> Result<(), KernelError> {
    watch(ebpf, |watch| watch.netns = netns)
}

fn watch(ebpf: &mut Ebpf, change: impl FnOnce(&mut Watch)) -> Result<(), KernelError> {
    alter(ebpf, ".data.watch", change)
}

fn add_netns(ebpf: &mut Ebpf, netns: &[u32]) -> Result<(), KernelError> {
    let mut map: HashMap<_, u32, u8> = open(ebpf, "NETNS")?;
    netns.iter().try_for_each(|inode| map.insert(inode, 1, 0)).map_err(|error| KernelError::map("NETNS", error))
}

fn pick_netns(ebpf: &mut Ebpf, pick: bool) -> Result<(), KernelError> {
    let flags = if pick { config_flag::NETNS_FILTER } else { 0 };
    configure(ebpf, |settings| settings.flags = flags)
}

/// Sets how many records a second there may be.
pub(super) fn set_budgets(ebpf: &mut Ebpf, budgets: Budgets) -> Result<(), KernelError> {
    configure(ebpf, |settings| settings.budgets = budgets)
}

fn configure(ebpf: &mut Ebpf, change: impl FnOnce(&mut Config)) -> Result<(), KernelError> {
    alter(ebpf, "CONFIG", change)
}

/// Changes the one value of a map.
fn alter<T: Pod>(ebpf: &mut Ebpf, name: &'static str, change: impl FnOnce(&mut T)) -> Result<(), KernelError> {
    let failed = |error| KernelError::map(name, error);
    let mut map: Array<_, T> = open(ebpf, name)?;
    let mut value = map.get(&0, 0).map_err(failed)?;
    change(&mut value);
    map.set(0, value, 0).map_err(failed)
}
