//! Calls, challenges and registrations on a bench, one behaviour each.
