// Elements: numbers of any type in memory, as f32 in registers. All arithmetic between a load and a store
// is f32.
#pragma once

#include <span>

#include "core/plan/arithmetic.hpp"
#include "jit/simd.hpp"

namespace tandem::jit {

/// v = the elements at `from`, missing lanes zero; integers as they are. Only the lanes asked for are
/// touched in memory.
void emit_load(const Simd& simd, Element element, const Vec& v, const Address& from,
               const Simd::Lanes& lanes);

/// Vector registers that the functions below need besides their operand.
inline constexpr int element_temps = 2;

/// Stores v's lanes as elements, the nearest ones, ties to even. For integers, v must hold integers in
/// range. v and temps are clobbered.
void emit_store(const Simd& simd, Element element, const Address& to, const Vec& v, const Simd::Lanes& lanes,
                std::span<const int> temps);

/// The same for elements in several parts, `part` bytes apart: whole vectors only.
void emit_store_parts(const Simd& simd, Element element, const Address& to, std::int64_t part, const Vec& v,
                      std::span<const int> temps);

/// v = its lanes as elements of 1, 2 or 4 bytes, each in the low bits of its lane with zero above. Numbers as
/// emit_store() takes them; temps are clobbered.
void emit_bits(const Simd& simd, Element element, const Vec& v, std::span<const int> temps);

/// The inverse, in memory: stores the low `bytes` of each lane, whatever lies above. Clobbers register
/// `temp`.
void emit_store_bits(const Simd& simd, std::int64_t bytes, const Address& to, const Vec& v,
                     const Simd::Lanes& lanes, int temp);

/// Whether two vectors of elements are narrowed by one instruction: bf16 and its parts, where the ISA does
/// it itself.
bool stores_pairs(const Simd& simd, Element element) noexcept;
/// The same as two stores of whole vectors, of elements that stores_pairs(); one where the second lies
/// right behind the first.
struct PairStore {
    Address first, second;
    std::int64_t part;  // where the elements have parts
};
void emit_store_pair(const Simd& simd, Element element, const PairStore& to, const Vec& first,
                     const Vec& second, std::span<const int> temps);

/// Before the next: `order` = which of a register's f16 go where.
void emit_pair_order(const Simd& simd, const Vec& order);
/// v = the sums of the two f16 in each of its lanes, as f32. Whole registers only.
void emit_pair_sums(const Simd& simd, const Vec& v, const Vec& order, const Vec& temp);

/// v = the nearest numbers that bf16 or f16 can hold, still as f32.
void emit_round(const Simd& simd, Element element, const Vec& v, std::span<const int> temps);

}  // namespace tandem::jit
