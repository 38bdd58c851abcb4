//! Schedules of the groups model (`groups-model.md` §3 and §6), and those that rules need to bite.
