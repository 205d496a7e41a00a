// The part of Epilogue that stores: vectors, pairs of them, four pixels at once, and padding.
#include <algorithm>

#include "jit/epilogue.hpp"
#include "jit/pixel_pairs.hpp"

namespace tandem::jit {
namespace {

// An accumulator and where it goes.
struct VectorStore {
    Address to;
    Vec acc;
    int tail_lanes;
};

void store_whole(const StageContext& context, const Address& to, const Vec& v, std::span<const int> temps) {
    if (element_parts(context.out_element) > 1)
        emit_store_parts(context.simd, context.out_element, to, context.out.part, v, temps);
    else
        emit_store(context.simd, context.out_element, to, v, {}, temps);
}

// As the output tensor wants it. `mask`: as in Simd::Lanes.
void store_vector(const StageContext& context, const VectorStore& store, int mask,
                  std::span<const int> temps) {
    const Simd& simd = context.simd;
    const Simd::Lanes lanes{context.tail_vector(store.tail_lanes).lanes, mask};
    const Vec full = simd.vec(store.acc.getIdx());
    switch (context.tail_store) {
        case TailStore::masked:
            emit_store(simd, context.out_element, store.to, store.acc, lanes, temps);
            break;
        case TailStore::zeroed:
        case TailStore::cleared:
            simd.clear_tail(store.acc, lanes);
            store_whole(context, store.to, full, temps);  // a half-width write has cleared the upper half
            break;
        case TailStore::anything: store_whole(context, store.to, full, temps); break;
    }
}

// Neighbours in memory first: a pair of them is one store.
void store_pairs(const StageContext& context, std::vector<VectorStore> whole, int mask,
                 std::span<const int> temps) {
    const auto displacement = [](const VectorStore& store) {
        return static_cast<std::int64_t>(store.to.getRegExp().getDisp());
    };
    std::ranges::stable_sort(whole, {}, displacement);
    const auto store_pair = [&](const VectorStore& first, const VectorStore& second) {
        emit_store_pair(context.simd, context.out_element, {first.to, second.to, context.out.part}, first.acc,
                        second.acc, temps);
    };
    std::vector<VectorStore> apart;
    for (std::size_t i = 0; i < whole.size(); ++i) {
        const bool adjacent = i + 1 < whole.size() && displacement(whole[i + 1]) - displacement(whole[i]) ==
                                                          context.simd.lanes * context.out.element;
        if (adjacent) {
            store_pair(whole[i], whole[i + 1]);
            ++i;
        } else {
            apart.push_back(whole[i]);
        }
    }
    for (std::size_t i = 0; i + 1 < apart.size(); i += 2)
        store_pair(apart[i], apart[i + 1]);
    if (apart.size() % 2 == 1) store_vector(context, apart.back(), mask, temps);
}

// Those of a row, two at once where that is cheaper.
void store_vectors(const StageContext& context, std::span<const VectorStore> stores, int mask,
                   std::span<const int> temps) {
    std::vector<VectorStore> whole;
    for (const VectorStore& store : stores) {
        if (stores_pairs(context.simd, context.out_element) && store.tail_lanes == 0)
            whole.push_back(store);
        else
            store_vector(context, store, mask, temps);
    }
    store_pairs(context, std::move(whole), mask, temps);
}

}  // namespace

void Epilogue::emit_stores(const EpilogueBlock& block) const {
    if (context_.out.pairs && !is_quantized(context_.out_dtype)) return emit_pair_stores(block);
    const bool by_opmask = simd_.avx512();
    const int mask = by_opmask ? output_mask : block.temps[0];
    const bool has_tail = block.vectors.end == block.group.vectors;
    if (panel_.quads && block.group.vectors == quad_vectors) return emit_quad_stores(block);
    if (!by_opmask && has_tail) simd_.load_mask({block.group.tail_lanes, mask});
    const std::span<const int> temps = std::span(block.temps).subspan(by_opmask ? 0 : 1);
    for (std::int64_t row = 0; row < block.rows; ++row) {
        std::vector<VectorStore> stores;
        for (std::int64_t pixel = 0; pixel < block.pixels; ++pixel) {
            for (int v = static_cast<int>(block.vectors.begin); v < block.vectors.end; ++v) {
                const Place place{row, pixel, v};
                if (!packs_pixels(context_, block.tail_lanes(v)))
                    stores.push_back({code_.ptr[block.output(place)], block.acc(place), block.tail_lanes(v)});
                else if (pixel % packed_pixels == 0)
                    emit_packed_store(block, place, temps);
            }
        }
        store_vectors(context_, stores, mask, temps);
    }
}

void Epilogue::emit_quad_stores(const EpilogueBlock& block) const {
    for (std::int64_t row = 0; row < block.rows; ++row) {
        for (std::int64_t pixel = 0; pixel < block.pixels; ++pixel) {
            std::vector<Vec> vectors;
            for (int v = 0; v < quad_vectors; ++v)
                vectors.push_back(block.acc({row, pixel, v}));
            emit_quad_store(context_, code_.ptr[block.output({row, pixel, 0})], vectors, quant(),
                            block.temps);
        }
    }
}

// Pixels in pairs, whole vectors; where the last one has no other, it stands for both.
void Epilogue::emit_pair_stores(const EpilogueBlock& block) const {
    const int order = block.temps.back();
    std::size_t turn = 0;
    if (context_.out_element != Element::f32) code_.vmovups(simd_.vec(order), pair_order(code_));
    for (std::int64_t row = 0; row < block.rows; ++row) {
        for (std::int64_t pixel = 0; pixel < block.pixels; pixel += 2) {
            for (int v = static_cast<int>(block.vectors.begin); v < block.vectors.end; ++v) {
                const Place first{row, pixel, v}, second{row, std::min(pixel + 1, block.pixels - 1), v};
                const Vec x = block.acc(first), y = block.acc(second);
                if (context_.tail_store != TailStore::anything) {
                    const Simd::Lanes lanes{context_.tail_vector(block.tail_lanes(v)).lanes, output_mask};
                    simd_.clear_tail(x, lanes);
                    simd_.clear_tail(y, lanes);
                }
                emit_pair_store(simd_, context_.out_element, block.output(first), simd_.vec(x.getIdx()),
                                simd_.vec(y.getIdx()), block.temps[turn++ % (block.temps.size() - 1)], order);
            }
        }
    }
}

// Up to packed_pixels pixels of a vector from `first` on.
void Epilogue::emit_packed_store(const EpilogueBlock& block, const Place& first,
                                 std::span<const int> temps) const {
    std::vector<Vec> pixels;
    for (std::int64_t i = first.pixel; i < std::min(first.pixel + packed_pixels, block.pixels); ++i)
        pixels.push_back(block.acc({first.row, i, first.vector}));
    jit::emit_packed_store(context_, code_.ptr[block.output(first)], pixels, block.tail_lanes(first.vector),
                           quant(), temps);
}

// Zeroes what lies behind the last vector where that is padding of its channel block: only blocks of 16
// channels in vectors of 8 have such padding.
void Epilogue::emit_padding(const EpilogueBlock& block) const {
    const bool pads = block.group.pads_block && block.vectors.end == block.group.vectors;
    if (!pads || context_.tail_store != TailStore::zeroed) return;
    const int index = block.temps.back();
    const Xbyak::Xmm low(index);
    const auto behind = static_cast<std::size_t>(simd_.lanes * context_.out.element);
    for (std::int64_t row = 0; row < block.rows; ++row) {
        for (std::int64_t pixel = 0; pixel < block.pixels; ++pixel) {
            const Address to = code_.ptr[block.output({row, pixel, block.group.vectors - 1}) + behind];
            if (pixel == 0 && row == 0) simd_.zero(Xbyak::Ymm(index));
            switch (element_bytes(context_.out_element)) {
                case 4: code_.vmovups(to, Xbyak::Ymm(index)); break;
                case 2: code_.vmovups(to, low); break;
                default: code_.vmovq(to, low); break;
            }
        }
    }
}

}  // namespace tandem::jit
