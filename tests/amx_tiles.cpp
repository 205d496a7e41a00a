#include "amx_tiles.hpp"

#include <xmmintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace tandem::test {

namespace {

constexpr int colsb_at = 16, rows_at = 48;  // in the configuration
constexpr int max_columns = AmxTiles::max_colsb / 4;

template <class Value>
Value read(const std::byte* from) {
    Value value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class Value>
void write(std::byte* to, Value value) {
    std::memcpy(to, &value, sizeof value);
}

/// Round to nearest even, denormals are zero and flushed, no exceptions: what AMX computes with, whatever
/// MXCSR says.
class AmxRounding {
public:
    AmxRounding() : saved_(_mm_getcsr()) { _mm_setcsr(0x9fc0); }
    ~AmxRounding() { _mm_setcsr(saved_); }

private:
    unsigned saved_;
};

float widen(AmxFloat type, std::uint16_t bits) {
    if (type == AmxFloat::bf16) return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
    const std::uint32_t exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff;
    // Unlike those of BF16, denormals of FP16 count; as f32 they are normal numbers.
    if (exponent == 0)
        return std::bit_cast<float>(sign |
                                    std::bit_cast<std::uint32_t>(static_cast<float>(mantissa) * 0x1p-24f));
    const std::uint32_t widened = exponent == 0x1f ? 0xff : exponent + (127 - 15);
    return std::bit_cast<float>(sign | widened << 23 | mantissa << 13);
}

/// One row of a product. Even and odd products are summed in two chains of FMAs, which join only at the
/// end. Out of line and behind a barrier, so that no arithmetic is moved to before the rounding mode is set
/// or after it is restored.
[[gnu::noinline]] void dot_pairs_row(AmxFloat type, std::byte* destination, const std::byte* a,
                                     const std::byte (*b)[AmxTiles::max_colsb], int depth, int columns) {
    asm volatile("" ::: "memory");
    float even[max_columns] = {}, odd[max_columns] = {};
    for (int k = 0; k < depth; ++k) {
        const float a_even = widen(type, read<std::uint16_t>(a + 4 * k)),
                    a_odd = widen(type, read<std::uint16_t>(a + 4 * k + 2));
        for (int n = 0; n < columns; ++n) {
            even[n] = std::fma(a_even, widen(type, read<std::uint16_t>(b[k] + 4 * n)), even[n]);
            odd[n] = std::fma(a_odd, widen(type, read<std::uint16_t>(b[k] + 4 * n + 2)), odd[n]);
        }
    }
    for (int n = 0; n < columns; ++n) {
        const float sum = even[n] + odd[n];
        write(destination + 4 * n, read<float>(destination + 4 * n) + sum);
    }
    asm volatile("" ::: "memory");
}

std::int32_t byte_value(bool is_signed, std::byte byte) {
    return is_signed ? std::bit_cast<std::int8_t>(byte) : std::to_integer<std::int32_t>(byte);
}

}  // namespace

// Palette 0 is the initial state, whatever the other bytes say.
AmxFault AmxTiles::load_config(const std::byte* config) {
    const auto byte = [&](int at) {
        return std::to_integer<int>(config[at]);
    };
    if (byte(0) == 0) return release(), AmxFault{};
    if (byte(0) != 1) return AmxFault::make("palette {}, but there are only 0 and 1", byte(0));
    for (int at = 0; at < config_bytes; ++at) {
        const bool reserved = (at >= 2 && at < colsb_at) ||
                              (at >= colsb_at + 2 * tile_count && at < rows_at) || at >= rows_at + tile_count;
        if (reserved && byte(at) != 0)
            return AmxFault::make("reserved byte {} of the configuration is {}, not 0", at, byte(at));
    }
    for (int tile = 0; tile < tile_count; ++tile) {
        const int rows = byte(rows_at + tile), colsb = read<std::uint16_t>(config + colsb_at + 2 * tile);
        if (rows > max_rows || colsb > max_colsb || (rows == 0) != (colsb == 0))
            return AmxFault::make("tmm{} is configured with {} rows of {} bytes", tile, rows, colsb);
    }
    release();
    palette_ = byte(0);
    start_row_ = byte(1);
    for (int tile = 0; tile < tile_count; ++tile) {
        tiles_[static_cast<std::size_t>(tile)].rows = byte(rows_at + tile);
        tiles_[static_cast<std::size_t>(tile)].colsb = read<std::uint16_t>(config + colsb_at + 2 * tile);
    }
    return {};
}

void AmxTiles::store_config(std::byte* config) const {
    std::byte bytes[config_bytes] = {};
    bytes[0] = static_cast<std::byte>(palette_);
    bytes[1] = static_cast<std::byte>(start_row_);
    for (std::size_t tile = 0; tile < tile_count; ++tile) {
        write(bytes + colsb_at + 2 * tile, static_cast<std::uint16_t>(tiles_[tile].colsb));
        bytes[rows_at + tile] = static_cast<std::byte>(tiles_[tile].rows);
    }
    std::memcpy(config, bytes, sizeof bytes);
}

AmxFault AmxTiles::check_tile(int tile) const {
    if (!configured()) return AmxFault::make("no tiles are configured");
    if (tiles_[static_cast<std::size_t>(tile)].rows == 0)
        return AmxFault::make("tmm{} is not configured", tile);
    return {};
}

AmxFault AmxTiles::check_memory_tile(int tile) const {
    if (const AmxFault fault = check_tile(tile)) return fault;
    const Tile& t = tiles_[static_cast<std::size_t>(tile)];
    if (t.colsb % 4 != 0)
        return AmxFault::make("rows of tmm{} have {} bytes, not a multiple of 4", tile, t.colsb);
    if (start_row_ >= t.rows)
        return AmxFault::make("start row {}, but tmm{} has {} rows", start_row_, tile, t.rows);
    return {};
}

AmxFault AmxTiles::check_product(int destination, int a, int b) const {
    if (destination == a || destination == b || a == b)
        return AmxFault::make("tmm{}, tmm{}, tmm{} are not three different tiles", destination, a, b);
    for (const int tile : {destination, a, b}) {
        if (const AmxFault fault = check_tile(tile)) return fault;
        const int colsb = tiles_[static_cast<std::size_t>(tile)].colsb;
        if (colsb % 4 != 0)
            return AmxFault::make("rows of tmm{} have {} bytes, not a multiple of 4", tile, colsb);
    }
    const Tile &td = tiles_[static_cast<std::size_t>(destination)], &ta = tiles_[static_cast<std::size_t>(a)],
               &tb = tiles_[static_cast<std::size_t>(b)];
    if (td.rows != ta.rows || td.colsb != tb.colsb || ta.colsb / 4 != tb.rows)
        return AmxFault::make("tmm{} of {} rows x {} bytes is not tmm{} of {} x {} times tmm{} of {} x {}",
                              destination, td.rows, td.colsb, a, ta.rows, ta.colsb, b, tb.rows, tb.colsb);
    return {};
}

AmxFault AmxTiles::zero(int tile) {
    if (const AmxFault fault = check_tile(tile)) return fault;
    std::memset(tiles_[static_cast<std::size_t>(tile)].data, 0, sizeof Tile::data);
    start_row_ = 0;
    return {};
}

// The start row is kept up to date, so that a load or store that page-faults can be resumed or looked at.
AmxFault AmxTiles::load(int tile, const AmxMemory& memory) {
    if (const AmxFault fault = check_memory_tile(tile)) return fault;
    Tile& t = tiles_[static_cast<std::size_t>(tile)];
    const auto colsb = static_cast<std::size_t>(t.colsb);
    for (; start_row_ < t.rows; ++start_row_) {
        std::byte* row = t.data[start_row_];
        std::memcpy(row, memory.row(start_row_), colsb);
        std::fill(row + colsb, row + max_colsb, std::byte{0});
    }
    std::memset(t.data[t.rows], 0, static_cast<std::size_t>(max_rows - t.rows) * max_colsb);
    start_row_ = 0;
    return {};
}

AmxFault AmxTiles::store(int tile, const AmxMemory& memory) {
    if (const AmxFault fault = check_memory_tile(tile)) return fault;
    const Tile& t = tiles_[static_cast<std::size_t>(tile)];
    for (; start_row_ < t.rows; ++start_row_)
        std::memcpy(memory.row(start_row_), t.data[start_row_], static_cast<std::size_t>(t.colsb));
    start_row_ = 0;
    return {};
}

AmxFault AmxTiles::dot_pairs(AmxFloat type, int destination, int a, int b) {
    if (const AmxFault fault = check_product(destination, a, b)) return fault;
    Tile& td = tiles_[static_cast<std::size_t>(destination)];
    const Tile &ta = tiles_[static_cast<std::size_t>(a)], &tb = tiles_[static_cast<std::size_t>(b)];
    const AmxRounding rounding;
    for (int m = 0; m < td.rows; ++m)
        dot_pairs_row(type, td.data[m], ta.data[m], tb.data, tb.rows, td.colsb / 4);
    start_row_ = 0;
    return {};
}

AmxFault AmxTiles::dot_quads(bool a_signed, bool b_signed, int destination, int a, int b) {
    if (const AmxFault fault = check_product(destination, a, b)) return fault;
    Tile& td = tiles_[static_cast<std::size_t>(destination)];
    const Tile &ta = tiles_[static_cast<std::size_t>(a)], &tb = tiles_[static_cast<std::size_t>(b)];
    for (int m = 0; m < td.rows; ++m)
        for (int n = 0; n < td.colsb / 4; ++n) {
            auto sum = read<std::uint32_t>(td.data[m] + 4 * n);
            for (int i = 0; i < ta.colsb; ++i)
                sum += static_cast<std::uint32_t>(byte_value(a_signed, ta.data[m][i]) *
                                                  byte_value(b_signed, tb.data[i / 4][4 * n + i % 4]));
            write(td.data[m] + 4 * n, sum);
        }
    start_row_ = 0;
    return {};
}

}  // namespace tandem::test
