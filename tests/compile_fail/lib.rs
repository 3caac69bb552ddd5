//! Nothing: the cases are checked one by one, by the test.
