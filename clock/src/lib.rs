//! Time and chance: the one seam through which a program reads clocks and draws numbers, and waiting with a limit.

pub mod clock;
pub mod overdue;
