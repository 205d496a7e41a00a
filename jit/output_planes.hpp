// Output planes: puts the rows of a tile, which the last stage has written to scratch, into an NCHW tensor.
//
//   for every 16 channels
//     for each row -> routine:  for each vector of pixels: for every 16 bytes of a pixel's channels:
//                               4 registers = those bytes of every pixel, a pixel a 128-bit lane
//                               4 x 4 dwords of each lane transposed: a register = a dword of every pixel
//                               store each channel of the dword, a vector of pixels of its plane
//
// Source: the transposition by inserted lanes of Intel's optimisation manual (its 8 x 8 of floats).
#pragma once

#include "core/plan/output_planes.hpp"
#include "jit/stage_body.hpp"

namespace tandem::jit {

class OutputPlanes {
public:
    OutputPlanes(CodeBlock& code, const Problem& problem, const Plan& plan, const Gpr& args);
    /// `tile`: of the last stage; `channels`: those that it has computed.
    void emit_tile(const StageTile& tile, const Span& channels);
    void emit_routines() { routines_.emit_pending(code_); }

private:
    void emit_rows(const StageTile& tile, std::int64_t channels);
    void emit_row(std::int64_t channels, std::int64_t width);
    void emit_pixels(std::int64_t channels, std::int64_t pixels);
    void emit_transposed(std::int64_t first, std::int64_t pixels);
    void emit_stores(std::int64_t first, std::int64_t channels, std::int64_t pixels);

    CodeBlock& code_;
    Simd simd_;
    TensorStrides from_, to_;
    Gpr args_;
    RegPool gprs_;
    RegPool::Lease own_args_, rows_, plane_rows_, pixel_, plane_, channel_, first_plane_, count_;
    Routines routines_;
};

}  // namespace tandem::jit
