/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests that fill our structures by hand: their strings are char *, because they come from
 * an arena, and here literals go into them.  Nobody writes to those.
 */
#ifndef CAISSON_TESTS_FUZZ_LITERALS_H
#define CAISSON_TESTS_FUZZ_LITERALS_H

#ifdef __clang__
#pragma clang diagnostic ignored "-Wincompatible-pointer-types-discards-qualifiers"
#else
#pragma GCC diagnostic ignored "-Wdiscarded-qualifiers"
#endif

#endif
