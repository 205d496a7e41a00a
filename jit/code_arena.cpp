#include "jit/code_arena.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tandem::jit {
namespace {

constexpr unsigned executable_memfd = 0x10;  // MFD_EXEC, of Linux 6.3
constexpr int populate_write = 23;           // MADV_POPULATE_WRITE, of Linux 5.14

class Descriptor {
public:
    explicit Descriptor(int number) noexcept : number_(number) {}
    ~Descriptor() {
        if (number_ >= 0) close(number_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int number() const noexcept { return number_; }

private:
    int number_;
};

int make_memfd() noexcept {
    constexpr const char* name = "tandem";
    const int fd = memfd_create(name, MFD_CLOEXEC | executable_memfd);
    return fd < 0 && errno == EINVAL ? memfd_create(name, MFD_CLOEXEC) : fd;
}

SystemFailure failed(const char* call) noexcept { return {call, errno}; }

/// Reserves memory of writable pages, of which a full memory cgroup or a strict overcommit limit may have
/// none: an error here, a signal where they are touched.
SystemFailure populate(std::byte* at, std::size_t size) noexcept {
    if (madvise(at, size, populate_write) == 0 || (errno != ENOMEM && errno != EFAULT)) return {};
    return failed("madvise(MADV_POPULATE_WRITE)");
}

std::byte* map(std::size_t size, int protection, int flags, int fd) noexcept {
    void* const at = mmap(nullptr, size, protection, flags, fd, 0);
    return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

}  // namespace

std::size_t page_bytes() noexcept { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

CodeArena::CodeArena(std::size_t pages, CodeMapping mapping)
    : mapping_(mapping), owner_(getpid()), pages_free_(pages), used_(pages), child_knows_(pages) {}

// Unmapping the middle of what the kernel sees as one mapping may fail at the limit of mappings; what is
// left then has no memory.
CodeArena::~CodeArena() {
    if (base_) munmap(base_, size());
    if (view_) munmap(view_, size());
}

std::variant<std::unique_ptr<CodeArena>, SystemFailure> CodeArena::create(std::size_t pages,
                                                                          CodeMapping mapping) {
    std::unique_ptr<CodeArena> arena(new CodeArena(pages, mapping));
    const SystemFailure failure =
        mapping == CodeMapping::protection ? arena->map_private() : arena->map_views();
    if (failure) return failure;
    return arena;
}

SystemFailure CodeArena::map_private() noexcept {
    base_ = map(size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    return base_ ? SystemFailure{} : failed("mmap");
}

SystemFailure CodeArena::map_views() noexcept {
    const Descriptor memory(make_memfd());
    if (memory.number() < 0) return failed("memfd_create");
    rlimit most{};  // of a file's size: beyond it there is a signal
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < size()) {
        errno = EFBIG;
        return failed("ftruncate of a memfd");
    }
    if (ftruncate(memory.number(), static_cast<off_t>(size())) != 0) return failed("ftruncate of a memfd");
    base_ = map(size(), PROT_READ | PROT_EXEC, MAP_SHARED, memory.number());
    if (!base_) return failed("mmap(PROT_READ | PROT_EXEC) of a memfd");
    view_ = map(size(), PROT_NONE, MAP_SHARED, memory.number());
    return view_ ? SystemFailure{} : failed("mmap of a memfd");
}

// The process id tells children that were not made by fork(), for which no handler ran.
bool CodeArena::ours() const noexcept { return mapping_ == CodeMapping::protection || owner_ == getpid(); }

std::optional<std::size_t> CodeArena::find_free(std::size_t pages) const noexcept {
    if (pages_free_ < pages) return std::nullopt;
    std::size_t run = 0;
    for (std::size_t page = 0; page < used_.size(); ++page) {
        run = used_[page] ? 0 : run + 1;
        if (run == pages) return page + 1 - pages;
    }
    return std::nullopt;
}

SystemFailure CodeArena::write(std::span<const std::byte> code, std::size_t first) noexcept {
    const std::size_t pages = pages_of(code.size()), offset = first * page_bytes();
    const SystemFailure failure =
        mapping_ == CodeMapping::protection ? write_private(code, offset) : write_view(code, offset);
    if (failure) {
        discard(offset, pages * page_bytes());
        return failure;
    }
    std::fill_n(used_.begin() + static_cast<std::ptrdiff_t>(first), pages, true);
    pages_alive_ += pages;
    pages_free_ -= pages;
    return {};
}

// Neighbours are not touched, and the kernel joins these pages with them once the protection is equal again.
SystemFailure CodeArena::write_private(std::span<const std::byte> code, std::size_t offset) noexcept {
    std::byte* const at = base_ + offset;
    const std::size_t size = pages_of(code.size()) * page_bytes();
    if (mprotect(at, size, PROT_READ | PROT_WRITE) != 0) return failed("mprotect(PROT_READ | PROT_WRITE)");
    SystemFailure failure = populate(at, size);
    if (!failure) {
        std::memcpy(at, code.data(), code.size());
        if (mprotect(at, size, PROT_READ | PROT_EXEC) == 0) return {};
        failure = failed("mprotect(PROT_READ | PROT_EXEC)");
    }
    mprotect(at, size, PROT_NONE);
    return failure;
}

// The whole view changes protection, so that it stays one mapping.
SystemFailure CodeArena::write_view(std::span<const std::byte> code, std::size_t offset) noexcept {
    if (mprotect(view_, size(), PROT_READ | PROT_WRITE) != 0)
        return failed("mprotect(PROT_READ | PROT_WRITE)");
    const SystemFailure failure = populate(view_ + offset, pages_of(code.size()) * page_bytes());
    if (!failure) std::memcpy(view_ + offset, code.data(), code.size());
    mprotect(view_, size(), PROT_NONE);
    return failure;
}

void CodeArena::discard(std::size_t offset, std::size_t size) noexcept {
    if (mapping_ == CodeMapping::protection) {
        madvise(base_ + offset, size, MADV_DONTNEED);
        return;
    }
    if (mprotect(view_, this->size(), PROT_READ | PROT_WRITE) != 0) return;
    madvise(view_ + offset, size, MADV_REMOVE);
    mprotect(view_, this->size(), PROT_NONE);
}

void CodeArena::release(std::span<const std::byte> code) noexcept {
    const auto offset = static_cast<std::size_t>(code.data() - base_);
    const std::size_t first = offset / page_bytes(), pages = pages_of(code.size());
    pages_alive_ -= pages;
    if (!ours() || child_knows_[first]) return;
    discard(offset, pages * page_bytes());
    std::fill_n(used_.begin() + static_cast<std::ptrdiff_t>(first), pages, false);
    pages_free_ += pages;
}

void CodeArena::share_with_child() noexcept {
    if (mapping_ == CodeMapping::two_views) child_knows_ = used_;
}

void CodeArena::leave_to_parent() noexcept { owner_ = 0; }

}  // namespace tandem::jit
