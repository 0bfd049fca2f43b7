// Ten thousand damages, each from a seed: flipped bits, cut, grown, swapped, repeated and zeroed ranges, exchanged and
// missing files. In a folder with a manifest every one is found; the safetensors reader alone, without checksums,
// either refuses or gives tensors that lie within the file.
#include <catch2/catch.hpp>
#include <cerrno>
#include <map>

#include "engine/files/atomic_folder.h"
#include "engine/files/safetensors.h"
#include "kernels/core/random_stream.h"
#include "tests/files/guarded_bytes.h"
#include "tests/support.h"

using namespace cloze;
namespace fs = std::filesystem;

namespace {

constexpr const char* kManifest = "training_state.json";

std::uint32_t below(RandomStream& random, std::size_t n) {
    return random.below(static_cast<std::uint32_t>(n));
}

/// One damage; may by chance change nothing. `front` bytes at the start are hit more often than they would be.
std::string damage(std::string bytes, RandomStream& random, std::size_t front) {
    if (bytes.empty()) return "x";
    const std::size_t range = random.chance(0.5) ? std::min(front, bytes.size()) : bytes.size();
    const std::size_t at = below(random, range);
    const std::size_t length = 1 + below(random, std::min<std::size_t>(bytes.size() - at, 4096));
    const std::size_t other = below(random, bytes.size() - length + 1);
    switch (random.below(9)) {
        case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8))); break;
        case 1: bytes[at] = static_cast<char>(random.next_bits()); break;
        case 2: bytes.resize(at); break;
        case 3: bytes.append(length, static_cast<char>(random.next_bits())); break;
        case 4: std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), length, '\0'); break;
        case 5: bytes.replace(at, length, bytes.substr(other, length)); break;
        case 6: bytes.erase(at, length); break;
        case 7: bytes.insert(at, bytes.substr(other, length)); break;
        default: {  // two ranges change places
            const std::string first = bytes.substr(at, length), second = bytes.substr(other, length);
            bytes.replace(at, length, second);
            bytes.replace(other, length, first);
        }
    }
    return bytes;
}

/// Files in memory, so that ten thousand damages need no disk. Reading only.
class MemoryFiles : public SystemCalls {
public:
    std::map<std::string, std::string> contents;  // by path

    int open(const char* path, int, unsigned) override {
        if (!contents.contains(path)) {
            errno = ENOENT;
            return -1;
        }
        open_.push_back({&contents[path], 0});
        return static_cast<int>(open_.size()) - 1;
    }
    int close(int descriptor) override {
        if (descriptor + 1 == static_cast<int>(open_.size())) open_.pop_back();
        return 0;
    }
    int status(int descriptor, FileStatus& status) override {
        status = {.is_regular = true, .bytes = static_cast<std::int64_t>(open_.at(descriptor).contents->size())};
        return 0;
    }
    std::int64_t read(int descriptor, void* to, std::size_t bytes) override {
        Open& file = open_.at(descriptor);
        const std::size_t count = file.contents->copy(static_cast<char*>(to), bytes, file.position);
        file.position += count;
        return static_cast<std::int64_t>(count);
    }

private:
    struct Open {
        const std::string* contents;
        std::size_t position;
    };
    std::vector<Open> open_;
};

/// A checkpoint written to disk, read into memory, and verified there.
struct Folder {
    fs::path path;
    std::vector<std::string> names = {"config.json", "model.safetensors", kManifest, "vocab.txt"};
    std::map<std::string, std::string> contents;
    MemoryFiles files;

    Folder() {
        const test::TemporaryFolder temporary;
        path = temporary.path() / "checkpoint-7";
        std::vector<float> weights(3000);
        RandomStream random({.seed = 3, .purpose = RandomPurpose::masking});
        for (std::size_t i = 0; i < 2000; ++i) weights[i] = random.uniform();  // the rest is zero, as unused rows are
        AtomicFolder output(path);
        OutputFile file = output.create("model.safetensors");
        const std::span<const float> all(weights);
        write_safetensors(file,
                          {tensor_to_store<float>("bert.embeddings.word_embeddings.weight", {20, 100}, all.first(2000)),
                           tensor_to_store<float>("bert.pooler.dense.weight", {30, 30}, all.last(900)),
                           tensor_to_store<float>("bert.pooler.dense.bias", {30}, all.first(30))});
        output.add(std::move(file));
        output.add("config.json", R"({"hidden_size": 128, "vocab_size": 30522})");
        output.add("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n");
        output.commit(kManifest, {{"step", 7}, {"seed", 42}, {"epoch", 0}});
        for (const std::string& name : names) {
            contents[name] = test::read_file(path / name);
            put(name, contents[name]);
        }
    }

    void put(const std::string& name, const std::string& bytes) { files.contents[(path / name).string()] = bytes; }
    void remove(const std::string& name) { files.contents.erase((path / name).string()); }

    /// What verification says; empty when it finds nothing wrong.
    std::string complaint() {
        const SystemCallsReplacement replacement(files);
        try {
            verify_folder(path, read_manifest(path, kManifest).files);
            return "";
        } catch (const Error& error) {
            return error.what();
        }
    }
};

}  // namespace

TEST_CASE("every one of 10,000 damages to a folder with a manifest is found and its file named", "[files]") {
    Folder folder;
    REQUIRE(folder.complaint().empty());
    int damages = 0;
    std::map<std::string, int> found;
    for (std::uint64_t seed = 0; damages < 10'000; ++seed) {
        RandomStream random({.seed = seed, .purpose = RandomPurpose::masking});
        const std::string& name = folder.names[below(random, folder.names.size())];
        const std::string& good = folder.contents.at(name);
        std::string bad = damage(good, random, 300);
        if (random.chance(0.02)) bad = folder.contents.at(folder.names[below(random, folder.names.size())]);
        if (bad == good) continue;
        ++damages;
        folder.put(name, bad);
        if (random.chance(0.02)) folder.remove(name);
        const std::string message = folder.complaint();
        if (message.find(name) == std::string::npos) FAIL("seed " << seed << ", " << name << ": '" << message << "'");
        ++found[name];
        folder.put(name, good);
    }
    for (const std::string& name : folder.names) CHECK(found[name] > 1000);
    CHECK(folder.complaint().empty());
}

TEST_CASE("every single bit of a manifest is guarded", "[files]") {
    Folder folder;
    const std::string& good = folder.contents.at(kManifest);
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        std::string bad = good;
        bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
        folder.put(kManifest, bad);
        if (folder.complaint().find(kManifest) == std::string::npos) FAIL("bit " << bit << " is not guarded");
    }
    for (std::size_t size = 0; size < good.size(); ++size) {
        folder.put(kManifest, good.substr(0, size));
        if (folder.complaint().find(kManifest) == std::string::npos) FAIL("cut at " << size << " goes unseen");
    }
}

TEST_CASE("the safetensors reader never leaves a damaged file", "[files]") {
    Folder folder;
    const std::string& good = folder.contents.at("model.safetensors");
    test::GuardedBytes guarded(2 * good.size() + 8192);
    int refused = 0, opened = 0;
    for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
        RandomStream random({.seed = seed, .purpose = RandomPurpose::pairing});
        std::string bad = damage(good, random, 300);
        while (random.chance(0.3) && bad.size() < 2 * good.size()) bad = damage(bad, random, 300);
        const auto bytes = guarded.hold(bad);
        try {
            const SafetensorsReader reader(bytes, "model.safetensors");
            ++opened;
            std::int64_t covered = 0;
            for (const StoredTensor& tensor : reader.tensors()) {
                const auto data = reader.bytes(tensor);
                covered += static_cast<std::int64_t>(data.size());
                if (data.data() < bytes.data() || data.data() + data.size() > bytes.data() + bytes.size()) {
                    FAIL("seed " << seed << ": '" << tensor.name << "' leaves the file");
                }
                static_cast<void>(xxh3(data));
            }
            CHECK(covered < static_cast<std::int64_t>(bytes.size()));
        } catch (const Error& error) {
            ++refused;
            if (error.fault() != Fault::input) FAIL("seed " << seed << ": " << error.what());
        }
    }
    CHECK(refused > 5000);
    CHECK(opened > 1000);
}
