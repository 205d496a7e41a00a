// libFuzzer target: bytes are a sequence of calls of the C API over one handle of each kind, with arguments
// that are right, null or wrong. Whatever they are, a call is an error or does what it says; buffers are as
// large as the calls state.
#include "tandem/tandem.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

class Bytes {
public:
    Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
    bool any() const { return size_ > 0; }
    unsigned next() {
        if (size_ == 0) return 0;
        --size_;
        return *data_++;
    }
    /// One time in eight `value` is null.
    template <class T>
    T* maybe(T* value) {
        return next() % 8 == 0 ? nullptr : value;
    }
    std::int32_t number() {
        constexpr std::int32_t odd[] = {-1, INT32_MIN, INT32_MAX, 1 << 20};
        const unsigned byte = next();
        return byte < 224 ? static_cast<std::int32_t>(byte % 8) : odd[byte % 4];
    }
    std::string text() {
        std::string result;
        for (unsigned left = next() % 64; left > 0; --left)
            result += static_cast<char>(next());
        return result;
    }

private:
    const std::uint8_t* data_;
    std::size_t size_;
};

const char* const chains[] = {"1x8x6x6:dw3+bias:conv1o16", "1x4x5x5:conv1o8+relu:dw3:conv1o4+sum(in)",
                              "2x8x4x4:conv3o8+sum/nchw8c", "1x8x4x4:conv1o8/u8",
                              "1x3x7x7*:conv3o8/nhwc/bf16"};

struct Handles {
    tandem_context* context = nullptr;
    tandem_chain* chain = nullptr;
    tandem_kernel* kernel = nullptr;
    tandem_weights* weights = nullptr;
    ~Handles() {
        tandem_weights_free(weights);
        tandem_kernel_free(kernel);
        tandem_chain_free(chain);
        tandem_context_free(context);
    }
};

/// Every error has a code, a name and a sentence.
void expect(tandem_error* error) {
    if (error == nullptr) return;
    const std::int32_t code = tandem_error_code(error);
    if (code < TANDEM_INVALID_ARGUMENT || code >= TANDEM_INTERNAL || *tandem_error_message(error) == '\0')
        abort();
    tandem_error_free(error);
}

template <class Handle>
void replace(Handle*& handle, void (*free)(Handle*), tandem_error* error, Handle* made) {
    if ((error == nullptr) != (made != nullptr)) abort();
    expect(error);
    if (made == nullptr) return;
    free(handle);
    handle = made;
}

void parse(Handles& all, Bytes& bytes) {
    const unsigned choice = bytes.next() % 8;
    const std::string text = choice < 5 ? chains[choice] : bytes.text();
    tandem_chain* made = nullptr;
    tandem_error* const error = tandem_chain_parse(bytes.maybe(text.c_str()), &made);
    // Larger ones take long to compile and to run.
    tandem_tensor tensor = TANDEM_TENSOR_INIT;
    bool small = made != nullptr;
    for (const std::int32_t which : {TANDEM_INPUT, TANDEM_OUTPUT})
        small = small && tandem_error_code(tandem_chain_tensor(made, which, &tensor)) == TANDEM_OK &&
                tensor.elements < 4096;
    if (made != nullptr && !small) {
        tandem_chain_free(made);
        return;
    }
    replace<tandem_chain>(all.chain, tandem_chain_free, error, made);
}

void dispatch(Handles& all, Bytes& bytes) {
    tandem_dispatch_options options = TANDEM_DISPATCH_OPTIONS_INIT;
    const std::string text = bytes.text();
    const unsigned choice = bytes.next();
    if (choice % 4 == 1) options.isa = text.c_str();
    if (choice % 4 == 2) options.plan = text.c_str();
    options.threads = bytes.number() % 8;
    options.effort = bytes.next() % 8 == 0 ? 7 : TANDEM_EFFORT_ESTIMATE;
    if (bytes.next() % 16 == 0) options.struct_size = bytes.next() % sizeof options;
    tandem_kernel* made = nullptr;
    tandem_context* const context = bytes.maybe(all.context);
    tandem_chain* const chain = bytes.maybe(all.chain);
    tandem_error* const error = tandem_dispatch(context, chain, bytes.maybe(&options), &made);
    replace<tandem_kernel>(all.kernel, tandem_kernel_free, error, made);
}

void pack(Handles& all, Bytes& bytes) {
    static const std::vector<float> numbers(4096, 0.5f);
    static const std::vector<std::int8_t> integers(4096, 3);
    tandem_stage_weights stages[TANDEM_MAX_STAGES];
    for (tandem_stage_weights& stage : stages) {
        stage = TANDEM_STAGE_WEIGHTS_INIT;
        stage.weights = bytes.maybe(numbers.data());
        stage.weight_count = bytes.next() * 4;
        stage.bias = bytes.maybe(numbers.data());
        stage.bias_count = bytes.next() % 32;
        stage.quantized_weights = bytes.maybe(integers.data());
        stage.quantized_weight_count = bytes.next();
        stage.weight_scales = bytes.maybe(numbers.data());
        stage.weight_scale_count = bytes.next() % 32;
    }
    tandem_quantization input = TANDEM_QUANTIZATION_INIT;
    input.zero_point = bytes.number();
    tandem_weights* made = nullptr;
    tandem_kernel* const kernel = bytes.maybe(all.kernel);
    tandem_stage_weights* const some = bytes.maybe(stages);
    const auto count = bytes.next() % 6;
    tandem_error* const error = tandem_kernel_pack(kernel, some, count, bytes.maybe(&input), &made);
    replace<tandem_weights>(all.weights, tandem_weights_free, error, made);
}

void call(Handles& all, Bytes& bytes) {
    alignas(64) static char x[1 << 16], y[1 << 16], r[1 << 16];
    alignas(64) static char scratch[1 << 20], shared[1 << 20];
    tandem_args args = TANDEM_ARGS_INIT;
    args.input = bytes.maybe(x);
    args.output = bytes.maybe(y);
    args.weights = bytes.maybe(all.weights);
    for (const void*& residual : args.residual)
        residual = bytes.next() % 2 == 0 ? nullptr : r;
    args.input_bytes = sizeof x >> bytes.next() % 16;
    args.input_factors = bytes.maybe(reinterpret_cast<const float*>(r));
    args.next = bytes.maybe(r);
    args.next_bytes = bytes.next() % 2 * sizeof r;
    if (bytes.next() % 16 == 0) args.struct_size = bytes.next();
    const std::int32_t step = bytes.number(), part = bytes.number(), nparts = bytes.number();
    const std::size_t size = sizeof scratch >> bytes.next() % 20;
    const unsigned choice = bytes.next() % 3;
    tandem_kernel* const kernel = bytes.maybe(all.kernel);
    tandem_args* const some = bytes.maybe(&args);
    char* const own = bytes.maybe(scratch);
    char* const common = bytes.maybe(shared);
    switch (choice) {
        case 0: expect(tandem_kernel_call(kernel, some)); break;
        case 1: expect(tandem_kernel_run(kernel, part, nparts, some, own, size)); break;
        default:
            expect(
                tandem_kernel_run_step(kernel, step, part, nparts, some, own, size, common, sizeof shared));
    }
}

void ask(Handles& all, Bytes& bytes) {
    tandem_kernel_info info = TANDEM_KERNEL_INFO_INIT;
    tandem_tensor tensor = TANDEM_TENSOR_INIT;
    tandem_symbol symbol = TANDEM_SYMBOL_INIT;
    if (bytes.next() % 8 == 0) info.struct_size = tensor.struct_size = symbol.struct_size = bytes.next() % 64;
    tandem_kernel* const kernel = bytes.maybe(all.kernel);
    expect(tandem_kernel_get_info(kernel, bytes.maybe(&info)));
    const std::int32_t which = bytes.number();
    expect(tandem_kernel_tensor(kernel, which, bytes.maybe(&tensor)));
    const unsigned index = bytes.next();
    expect(tandem_kernel_symbol(kernel, index, bytes.maybe(&symbol)));
    char* text = nullptr;
    expect(tandem_kernel_explain(bytes.maybe(all.kernel), &text));
    tandem_string_free(text);
    tandem_tensor made = TANDEM_TENSOR_INIT;
    made.n = bytes.number();
    made.c = bytes.number();
    made.h = bytes.number();
    made.w = bytes.number();
    made.layout = bytes.number();
    made.row_stride = bytes.number();
    expect(tandem_tensor_fill(&made));
    if (bytes.next() % 4 == 0) expect(tandem_clear_cache(bytes.maybe(all.context)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool no_wisdom = setenv("TANDEM_WISDOM", "", 1) == 0;
    if (!no_wisdom) return 0;
    Bytes bytes(data, size);
    Handles all;
    expect(tandem_context_create(nullptr, &all.context));
    for (int calls = 0; bytes.any() && calls < 64; ++calls) {
        switch (bytes.next() % 5) {
            case 0: parse(all, bytes); break;
            case 1: dispatch(all, bytes); break;
            case 2: pack(all, bytes); break;
            case 3: call(all, bytes); break;
            default: ask(all, bytes);
        }
    }
    return 0;
}
