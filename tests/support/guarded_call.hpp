// GuardedCall: a kernel with made-up weights and tensors, each tensor ending at a page that faults, ready
// to be called.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/plan/problem.hpp"
#include "core/run/guarded_buffer.hpp"
#include "core/run/typed_tensor.hpp"
#include "core/run/verification_data.hpp"
#include "tandem/kernel.hpp"

namespace tandem::test {

class GuardedCall {
public:
    GuardedCall(const Problem& problem, const Kernel& kernel, DataKind kind = DataKind::random,
                std::uint64_t seed = 1)
        : GuardedCall(problem, kernel, make_verification_data(problem, kind, seed)) {}
    GuardedCall(const Problem& problem, const Kernel& kernel, VerificationData data)
        : kernel_(kernel), data_(std::move(data)), input_(copy(problem.dtype, data_.input)),
          output_(tensor(kernel.output_dtype(), static_cast<std::size_t>(element_count(
                                                    kernel.output_shape(), kernel.output_view())))),
          scratch_(empty(kernel.scratch_bytes(), 64)) {
        for (int i = 0; i < problem.stage_count; ++i)
            residuals_.push_back(copy(problem.output_dtype(i), data_.residual[static_cast<std::size_t>(i)]));
        auto packed = kernel.pack(data_.views(problem.stage_count), data_.input_quantization);
        if (packed) weights_ = std::make_unique<PackedWeights>(std::move(*packed));
    }

    Args args() const {
        Args args{
            .input = input_.bytes().data(), .output = output_.bytes().data(), .weights = weights_.get()};
        args.input_bytes = input_.bytes().size();
        args.output_bytes = output_.bytes().size();
        if (!data_.input_factors.empty()) args.input_factors = data_.input_factors.data();
        for (std::size_t i = 0; i < residuals_.size(); ++i) {
            args.residual[i] = residuals_[i].bytes().empty() ? nullptr : residuals_[i].bytes().data();
            args.residual_bytes[i] = residuals_[i].bytes().size();
        }
        if (in_place_) args.residual[residuals_.size() - 1] = args.output;
        return args;
    }

    /// Output and scratch full of NaN, or of 255 or -1 where the output has none, as before the first call.
    void clear() {
        for (const GuardedBuffer* buffer : {&output_, &scratch_})
            std::fill(buffer->bytes().begin(), buffer->bytes().end(), std::byte{0xff});
        if (in_place_) std::ranges::copy(residuals_.back().bytes(), output_.bytes().begin());
    }
    /// From the next clear() on, the last stage's residual is the output, as which it has to lie.
    void sum_in_place() { in_place_ = true; }
    Status run(int part = 0, int nparts = 1) const {
        return kernel_.run(part, nparts, args(), scratch_.bytes());
    }
    std::span<std::byte> scratch() const { return scratch_.bytes(); }
    /// Quantised ones as the integers that are stored.
    std::vector<float> output() const { return load_elements(kernel_.output_dtype(), output_.bytes()); }
    const Kernel& kernel() const { return kernel_; }
    const PackedWeights& weights() const { return *weights_; }
    const VerificationData& data() const { return data_; }

private:
    // A test machine that has no memory left may as well end here.
    static GuardedBuffer empty(std::size_t bytes, std::size_t alignment) {
        return std::move(GuardedBuffer::create(bytes, Placement::flush_end, alignment)).value();
    }
    static GuardedBuffer tensor(DataType type, std::size_t elements) {
        return empty(tensor_bytes(type, elements), static_cast<std::size_t>(element_bytes(type)));
    }
    static GuardedBuffer copy(DataType type, const std::vector<float>& values) {
        GuardedBuffer buffer = tensor(type, values.size());
        store_elements(type, values, buffer.bytes().data());
        return buffer;
    }

    Kernel kernel_;
    VerificationData data_;
    GuardedBuffer input_;
    std::vector<GuardedBuffer> residuals_;  // one a stage
    GuardedBuffer output_, scratch_;
    std::unique_ptr<PackedWeights> weights_;
    bool in_place_ = false;
};

/// First place where two outputs differ in any bit, as text; empty if none.
inline std::string bitwise_difference(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return fmt::format("{} elements against {}", a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i)
        if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0)
            return fmt::format("element {} is {} and {}", i, a[i], b[i]);
    return {};
}

}  // namespace tandem::test
