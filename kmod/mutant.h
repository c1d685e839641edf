/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Checks by number.  The tests build this code once per number with that check (or duty: what keeps
 * the books, or sets something up) taken out, and each time some test must turn red: below 100 in
 * user space (tests/kmod), from 100 in an emulated server (tests/cki/mutants), from 200 on a second
 * CPU model, which has what that one has not (tests/bochs/mutants).
 */
#ifndef CAISSON_MUTANT_H
#define CAISSON_MUTANT_H

#ifndef CAISSON_MUTANT
#define CAISSON_MUTANT 0
#endif
#define HOLDS(number, condition) (CAISSON_MUTANT == (number) || (condition))
#define DUTY(number) (CAISSON_MUTANT != (number))

#endif
