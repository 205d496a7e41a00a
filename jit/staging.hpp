// Staging: converts the input rows of a tile into scratch, for a dense first stage that cannot read them as
// they are, or for any that reads them multiplied by factors (core/plan/arithmetic.hpp).
//
//   for each input row -> routine:  for each vector of channels: for each pixel: load as f32, shift or
//                                   multiply, store as the stage wants it
//   NCHW:                             for each dot group of channels: for each vector of pixels: the same
//                                   with every channel, each put into its part of the group's dwords
//
// Channels behind the last are zero, as far as they share a vector, or a dot group, with it.
#pragma once

#include "core/plan/panel.hpp"
#include "jit/stage_body.hpp"

namespace tandem::jit {

class Staging {
public:
    Staging(CodeBlock& code, const Problem& problem, const Plan& plan, const PanelLayout& panel,
            const Gpr& args);
    const RowBuffer& buffer() const noexcept { return buffer_; }
    /// The rows and columns that `tile`, of the first stage, reads.
    void emit_tile(const StageTile& tile);
    void emit_routines() { routines_.emit_pending(code_); }

private:
    void emit_row(const Span& columns);
    void emit_pointers(const Span& columns);
    void emit_planes(const Span& columns);
    void emit_groups(std::int64_t first, int lanes);
    void emit_vector(const Span& columns, std::int64_t vector, int lanes);
    void emit_elements(const Vec& v, const Address& from, int lanes);
    Address pixel_at(std::int64_t pixel) const;
    Address copy_of(std::int64_t pixel) const;
    Simd::Lanes some(int lanes) const;
    void emit_pixel(std::int64_t pixel, int lanes);
    void emit_pixel_pair(std::int64_t pixel, int lanes);

    CodeBlock& code_;
    Simd simd_;
    DataType dtype_;
    Element to_;
    bool planes_;  // NCHW
    std::int64_t channels_;
    TensorStrides source_;
    RowBuffer buffer_;
    std::int64_t zero_offset_;  // of the input's zero point, from the panel's start
    Gpr args_;
    bool factors_;
    RegPool gprs_;
    RegPool::Lease own_args_, rows_, staged_, row_, copy_, from_, at_, panel_, count_, factor_;
    Routines routines_;
};

}  // namespace tandem::jit
