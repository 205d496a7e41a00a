// Reads the text form of descriptors; the grammar is in the head of tandem/descriptor.hpp. Syntax only:
// validate() judges the values.
#include "core/plan/descriptor_text.hpp"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"
#include "core/plan/float_state.hpp"
#include "core/plan/isa_text.hpp"
#include "core/plan/post_op_traits.hpp"
#include "tandem/descriptor.hpp"

namespace tandem {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_char(char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_'; }

/// Recursive descent without backtracking. Every member that reads returns false after recording the first
/// error.
class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    bool chain(ConvChain& chain);
    bool options(StatedChain& stated);
    Error error() && { return {ErrorCode::parse_error, std::move(message_)}; }

private:
    bool input_shape(InputShape& input);
    bool conv(Conv& conv);
    bool expect(std::string_view literal, const char* what);
    bool at(char c) const { return position_ < text_.size() && text_[position_] == c; }
    std::string_view rest() const { return text_.substr(position_); }
    bool accept(std::string_view literal);
    bool fail(std::string_view expected);

    bool number(std::int64_t& value, const char* what);
    bool finite_float(float& value);
    bool size(Size2& value, const char* what);
    bool padding(std::optional<Padding>& value);
    bool field(char name, Conv& conv);
    bool post_op(Conv& conv);
    bool post_op_kind(PostOpKind& kind);
    bool post_op_arguments(PostOp& op);

    template <class Value, class Read>
    bool option(Value& value, Read read);
    bool data_types(StatedChain& stated);
    bool view(ConvChain& chain);
    bool strides(TensorView& view, const char* first);
    std::string_view segment() const;

    std::string_view text_;
    std::size_t position_ = 0;
    std::string message_;
};

bool Parser::fail(std::string_view expected) {
    constexpr std::size_t shown = 20;
    std::string found = "the end of the text";
    if (!rest().empty())
        found = fmt::format("'{}{}'", rest().substr(0, shown), rest().size() > shown ? "..." : "");
    message_ =
        fmt::format("descriptor text, character {}: found {}; expected {}", position_ + 1, found, expected);
    return false;
}

bool Parser::accept(std::string_view literal) {
    if (!rest().starts_with(literal)) return false;
    position_ += literal.size();
    return true;
}

bool Parser::expect(std::string_view literal, const char* what) { return accept(literal) || fail(what); }

bool Parser::number(std::int64_t& value, const char* what) {
    if (rest().empty() || !is_digit(rest().front())) return fail(what);
    const auto [stop, status] = std::from_chars(rest().data(), rest().data() + rest().size(), value);
    if (status != std::errc{}) return fail(fmt::format("{} that fits 64 bits", what));
    position_ = static_cast<std::size_t>(stop - text_.data());
    return true;
}

bool Parser::finite_float(float& value) {
    const auto [stop, status] = std::from_chars(rest().data(), rest().data() + rest().size(), value);
    if (status != std::errc{} || !std::isfinite(value)) return fail("a finite number that fits a float");
    position_ = static_cast<std::size_t>(stop - text_.data());
    return true;
}

bool Parser::size(Size2& value, const char* what) {
    if (!number(value.h, what)) return false;
    value.w = value.h;
    return !accept("x") || number(value.w, "the second number of HxW");
}

bool Parser::padding(std::optional<Padding>& value) {
    constexpr const char* form = "a padding: one number or TxLxBxR";
    std::int64_t top = 0;
    if (!number(top, form)) return false;
    Padding p{top, top, top, top};
    if (at('x')) {
        for (std::int64_t* side : {&p.left, &p.bottom, &p.right})
            if (!expect("x", form) || !number(*side, form)) return false;
    }
    value = p;
    return true;
}

bool Parser::input_shape(InputShape& input) {
    constexpr const char* form = "the input shape <N>x<C>x<H>x<W>";
    const bool ok = number(input.n, form) && expect("x", form) && number(input.c, form) &&
                    expect("x", form) && number(input.h, form) && expect("x", form) && number(input.w, form);
    input.factors = ok && accept("*");
    return ok;
}

bool Parser::chain(ConvChain& chain) {
    if (!input_shape(chain.input)) return false;
    do {
        if (chain.conv_count == max_stages) return fail("the end of the text after 4 convolutions");
        if (!expect(":", "':' before a convolution") || !conv(chain.conv(chain.conv_count))) return false;
        ++chain.conv_count;
    } while (at(':'));
    if (rest().empty() || at('/')) return true;
    return fail(
        "a field (m, s, p or d, each at most once, before the post-ops), a post-op, ':' before another "
        "convolution, '/' before a layout or the end of the text");
}

bool Parser::field(char name, Conv& conv) {
    switch (name) {
        case 'm': return number(conv.multiplier, "a multiplier");
        case 's': return size(conv.stride, "a stride: one number or HxW");
        case 'd': return size(conv.dilation, "a dilation: one number or HxW");
        default: return padding(conv.padding);
    }
}

bool Parser::conv(Conv& conv) {
    const bool depthwise = accept("dw");
    if (!depthwise && !expect("conv", "a convolution: dw<k> or conv<k>o<OC>")) return false;
    conv.kind = depthwise ? ConvKind::depthwise : ConvKind::dense;
    if (!size(conv.kernel, "a kernel size: one number or HxW")) return false;
    if (!depthwise &&
        (!expect("o", "o<output channels>") || !number(conv.out_channels, "the number of output channels")))
        return false;

    std::string_view fields = depthwise ? "mspd" : "spd";
    std::string seen;
    while (!rest().empty() && fields.find(rest().front()) != fields.npos) {
        const char name = rest().front();
        if (seen.find(name) != seen.npos) return fail(fmt::format("field '{}' at most once", name));
        seen += name;
        ++position_;
        if (!field(name, conv)) return false;
    }
    if (at('m')) return fail("m<multiplier> after dw only");
    while (at('+'))
        if (!post_op(conv)) return false;
    return true;
}

bool Parser::post_op(Conv& conv) {
    if (conv.post_op_count == max_post_ops) return fail("at most 4 post-ops");
    ++position_;
    PostOp op;
    if (!post_op_kind(op.kind) || !post_op_arguments(op)) return false;
    conv = conv.with(op);
    return true;
}

bool Parser::post_op_kind(PostOpKind& kind) {
    std::size_t length = 0;
    while (length < rest().size() && is_name_char(rest()[length]))
        ++length;
    const std::string_view name = rest().substr(0, length);
    std::string accepted;
    for (int i = 0; i < post_op_kinds; ++i) {
        kind = static_cast<PostOpKind>(i);
        if (name == to_string(kind)) {
            position_ += length;
            return true;
        }
        accepted += fmt::format("{}{}", i == 0 ? "" : ", ", to_string(kind));
    }
    return fail("a post-op: one of " + accepted);
}

bool Parser::post_op_arguments(PostOp& op) {
    switch (traits(op).parameters) {
        case PostOpParameters::none: return true;
        case PostOpParameters::slope:
            return expect("(", "'(' and a slope") && finite_float(op.alpha) &&
                   expect(")", "')' after the slope");
        case PostOpParameters::bounds:
            return expect("(", "'(' and two bounds") && finite_float(op.alpha) &&
                   expect(",", "',' and the upper bound") && finite_float(op.beta) &&
                   expect(")", "')' after the bounds");
        case PostOpParameters::channels:
            if (accept("(in)")) {
                op.of_input = true;
                return true;
            }
            return !accept("(") ||
                   (number(op.channels, "a number of channels") && expect(")", "')' after the channels"));
    }
    return true;
}

/// Of what follows the '/' here, up to the next.
std::string_view Parser::segment() const {
    if (!at('/')) return {};
    const std::string_view behind = rest().substr(1);
    return behind.substr(0, behind.find('/'));
}

/// Takes the segment if `read` knows it; false if not.
template <class Value, class Read>
bool Parser::option(Value& value, Read read) {
    const auto known = read(segment());
    if (!known) return false;
    value = *known;
    position_ += 1 + segment().size();
    return true;
}

std::optional<Layout> read_layout(std::string_view name) {
    for (const Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c, Layout::nchw})
        if (name == to_string(layout)) return layout;
    return std::nullopt;
}

std::optional<Math> read_math(std::string_view name) {
    for (const Math math : {Math::fast, Math::strict, Math::bf16, Math::f16})
        if (name == to_string(math)) return math;
    return std::nullopt;
}

std::optional<std::vector<DataType>> read_data_types(std::string_view names) {
    std::vector<DataType> types;
    while (true) {
        const std::size_t end = names.find('-');
        const Result<DataType> type = parse_data_type(names.substr(0, end));
        if (!type) return std::nullopt;
        types.push_back(*type);
        if (end == names.npos) return types;
        names.remove_prefix(end + 1);
    }
}

bool Parser::options(StatedChain& stated) {
    ConvChain& chain = stated.chain;
    stated.layout = option(chain.layout, read_layout);
    if (!data_types(stated)) return false;
    stated.math = option(chain.math, read_math);
    while (segment().find('=') != std::string_view::npos)
        if (!view(chain)) return false;
    stated.isa = isa_named(segment());
    if (stated.isa) position_ += 1 + segment().size();
    return rest().empty() || fail(
                                 "a layout, data types, math, views (in=, out=, res0=) and an ISA, in this "
                                 "order, each behind a '/', or the end of the text");
}

/// One for all tensors, or one a tensor.
bool Parser::data_types(StatedChain& stated) {
    ConvChain& chain = stated.chain;
    std::vector<DataType>& types = stated.dtypes;
    const std::size_t before = position_;
    if (!option(types, read_data_types)) return true;
    chain.dtype = types[0];
    const std::size_t convs = chain.stages().size();
    if (types.size() == 1) return true;
    if (types.size() != convs + 1) {
        position_ = before;
        return fail(fmt::format("one data type, or {}: the input's and each convolution's", convs + 1));
    }
    for (std::size_t i = 0; i < convs; ++i)
        if (types[i + 1] != chain.dtype) chain.output_dtypes[i] = types[i + 1];
    return true;
}

bool Parser::view(ConvChain& chain) {
    ++position_;
    std::optional<TensorView>* view = nullptr;
    if (accept("in="))
        view = &chain.input_view;
    else if (accept("out="))
        view = &chain.output_view;
    for (std::size_t i = 0; view == nullptr && i < chain.stages().size(); ++i)
        if (accept(fmt::format("res{}=", i))) view = &chain.residual_views[i];
    if (view == nullptr) return fail("in=, out= or res<stage, from 0>=");
    if (*view) return fail("each tensor's view at most once");
    *view = TensorView(chain.layout);
    const std::size_t before = position_;
    const std::string_view name = rest().substr(0, rest().find_first_of(",/"));
    if (const auto layout = read_layout(name)) {
        (*view)->layout = *layout;
        position_ += name.size();
        if (!accept(",")) return true;
    }
    const bool layout_read = position_ != before;
    return strides(**view, layout_read
                               ? "a stride: p, r, b or i"
                               : "a layout (nhwc, nchw16c, nchw8c or nchw) or a stride (p, r, b or i)");
}

bool Parser::strides(TensorView& view, const char* first) {
    constexpr std::string_view letters = "prbi";
    std::int64_t* const fields[] = {&view.pixel, &view.row, &view.block, &view.image};
    bool seen[letters.size()] = {};
    const char* expected = first;
    do {
        const std::size_t i = rest().empty() ? letters.npos : letters.find(rest().front());
        if (i == letters.npos) return fail(expected);
        if (seen[i]) return fail("each stride at most once");
        seen[i] = true;
        ++position_;
        if (!number(*fields[i], "a stride in elements")) return false;
        expected = "a stride: p, r, b or i";
    } while (accept(","));
    return true;
}

}  // namespace

Result<StatedChain> parse_stated(std::string_view text, Layout layout) {
    const DefaultFloatState float_state;
    StatedChain stated;
    stated.chain.layout = layout;
    Parser parser(text);
    if (!parser.chain(stated.chain) || !parser.options(stated)) return std::move(parser).error();
    return stated;
}

Result<ConvChain> ConvChain::parse(std::string_view text) noexcept try {
    Result<StatedChain> stated = parse_stated(text);
    if (!stated) return stated.error();
    return stated->chain;
} catch (...) {
    return caught_error();
}

Result<ConvPair> ConvPair::parse(std::string_view text) noexcept try {
    Result<ConvChain> chain = ConvChain::parse(text);
    if (!chain) return chain.error();
    if (chain->conv_count != 2)
        return Error{ErrorCode::parse_error,
                     fmt::format("descriptor text: found {} convolution{}; expected the 2 of a pair",
                                 chain->conv_count, chain->conv_count == 1 ? "" : "s")};
    return ConvPair(*chain);
} catch (...) {
    return caught_error();
}

}  // namespace tandem
