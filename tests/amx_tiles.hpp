// AmxTiles: the tile registers of one emulated thread, and what each AMX instruction does to them. No
// decoding, no signals.
//
// Written from the "Operation" sections and exception classes AMX-E1 to E5 of Intel's SDM. Tile n has
// `rows` rows of `colsb` bytes; everything beyond is zero. It allocates nothing and throws nothing, because
// it runs in a signal handler.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <fmt/format.h>

namespace tandem::test {

/// What hardware would raise instead of executing; `text` is empty if nothing. A fixed buffer: see above.
struct AmxFault {
    char text[192] = {};
    explicit operator bool() const { return text[0] != 0; }

    template <class... Values>
    static AmxFault make(fmt::format_string<Values...> format, Values&&... values) {
        AmxFault fault;
        *fmt::format_to_n(fault.text, sizeof fault.text - 1, format, std::forward<Values>(values)...).out = 0;
        return fault;
    }
};

/// A tile in memory: row r is at (base + r * stride) & mask, the mask being that of the address size.
struct AmxMemory {
    std::uint64_t base = 0, stride = 0, mask = ~std::uint64_t{0};
    std::byte* row(int r) const {
        return reinterpret_cast<std::byte*>((base + static_cast<std::uint64_t>(r) * stride) & mask);
    }
};

enum class AmxFloat : std::uint8_t { bf16, fp16 };

class AmxTiles {
public:
    static constexpr int tile_count = 8, max_rows = 16, max_colsb = 64, config_bytes = 64;

    bool configured() const { return palette_ != 0; }
    AmxFault load_config(const std::byte* config);
    void store_config(std::byte* config) const;
    void release() { *this = AmxTiles{}; }

    AmxFault zero(int tile);
    AmxFault load(int tile, const AmxMemory& memory);
    AmxFault store(int tile, const AmxMemory& memory);
    /// destination += a * b, of pairs of floats.
    AmxFault dot_pairs(AmxFloat type, int destination, int a, int b);
    /// destination += a * b, of quadruples of bytes; sums wrap around.
    AmxFault dot_quads(bool a_signed, bool b_signed, int destination, int a, int b);

private:
    struct Tile {
        int rows = 0, colsb = 0;
        alignas(64) std::byte data[max_rows][max_colsb] = {};
    };

    AmxFault check_tile(int tile) const;
    AmxFault check_memory_tile(int tile) const;
    AmxFault check_product(int destination, int a, int b) const;

    int palette_ = 0, start_row_ = 0;
    std::array<Tile, tile_count> tiles_{};
};

}  // namespace tandem::test
