#include "engine/data/prepare.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "engine/data/shard.h"
#include "engine/data/text_input.h"
#include "kernels/core/error.h"
#include "tests/data/corpus.h"
#include "tests/data/shard_bytes.h"
#include "tests/files/expect_error.h"
#include "tests/files/faulty_calls.h"
#include "tests/files/stranger.h"
#include "tests/support.h"

using namespace cloze;
using namespace cloze::test;
namespace fs = std::filesystem;

namespace {

Vocabulary letters() {
    std::string contents = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n,\n?\n!\none\ntwo\nthree\nfour\nfive\nsix\n";
    for (char c = 'a'; c <= 'z'; ++c) contents += std::string(1, c) + "\n##" + c + "\n";
    return Vocabulary::parse(contents, "letters");
}

/// Documents of sentences, as text with spaces between pieces; pieces that continue a word begin with ##.
using Documents = std::vector<std::vector<std::string>>;

Documents documents_of(const Dataset& dataset, Split split) {
    Documents documents;
    if (!dataset.has(split)) return documents;
    const auto store = dataset.tokens(split);
    for (std::int64_t d = 0; d < store->documents(); ++d) {
        const DocumentView document = store->document(d);
        documents.emplace_back();
        for (std::int64_t s = 0; s < document.sentences(); ++s) {
            std::vector<std::int32_t> ids(static_cast<std::size_t>(document.tokens(s, 1)));
            document.copy(s, 0, document.tokens(s, 1), ids.data());
            std::string sentence;
            for (const std::int32_t id : ids)
                sentence += (sentence.empty() ? "" : " ") + dataset.vocabulary().token(id);
            documents.back().push_back(sentence);
        }
    }
    return documents;
}

/// Prepares what lies in `input` without a held-out split and reads it back.
struct Prepared {
    explicit Prepared(const fs::path& input, TextFormat format = TextFormat::automatic, double held_out = 0)
        : Prepared({.inputs = {input}, .output = {}, .format = format, .held_out_fraction = held_out}) {}
    explicit Prepared(PrepareSettings settings) {
        settings.output = folder.path() / "data";
        info = prepare_dataset(letters(), settings);
        dataset = std::make_unique<Dataset>(Dataset::open(settings.output));
        dataset->verify();
        train = documents_of(*dataset, Split::train);
        held_out = documents_of(*dataset, Split::held_out);
    }

    TemporaryFolder folder;
    DatasetInfo info;
    std::unique_ptr<Dataset> dataset;
    Documents train, held_out;
};

std::string message_of(const PrepareSettings& settings, Fault fault = Fault::input) {
    try {
        prepare_dataset(letters(), settings);
    } catch (const Error& error) {
        CHECK(error.fault() == fault);
        const std::string message = error.what();
        CHECK(message.find('\n') == std::string::npos);
        CHECK_FALSE(fs::exists(settings.output / "dataset.json"));
        return message;
    }
    return "";
}

std::map<std::string, std::string> files_of(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder)) {
        files[entry.path().filename().string()] = read_file(entry.path());
    }
    return files;
}

/// A text of many documents in several files, some larger than a reading unit.
void write_corpus(const fs::path& folder) {
    RandomStream random({4, RandomPurpose::initialization});
    const char* words[] = {"one", "two", "three", "four", "five", "six", "ab", "cdefg", "zzz", "Q"};
    for (int file = 0; file < 7; ++file) {
        std::string contents;
        const int documents = file == 3 ? 900 : 1 + static_cast<int>(random.below(30));
        for (int d = 0; d < documents; ++d) {
            const std::uint32_t sentences = 1 + random.below(30);
            for (std::uint32_t s = 0; s < sentences; ++s) {
                const std::uint32_t count = 1 + random.below(20);
                for (std::uint32_t w = 0; w < count; ++w) contents += std::string(words[random.below(10)]) + " ";
                contents += ".\n";
            }
            contents += "\n";
        }
        write_file(folder / ("part" + std::to_string(file) + ".txt"), contents);
    }
}

}  // namespace

TEST_CASE("a sentence a line, blank lines and file ends between documents") {
    const TemporaryFolder text;
    write_file(text.path() / "b.txt", "one two.\nthree\n\n\n  \t \nfour abc\n");
    write_file(text.path() / "a.txt", "five\n\nsix!");  // no line end at the end
    const Prepared prepared(text.path());
    CHECK(prepared.train == Documents{{"five"}, {"six !"}, {"one two .", "three"}, {"four a ##b ##c"}});
    CHECK(prepared.info.text.files == 2);
    CHECK(prepared.info.text.files_as_lines == 2);
    CHECK(prepared.info.split(Split::train).documents == 4);
    CHECK(prepared.info.split(Split::train).sentences == 5);
    CHECK(prepared.info.split(Split::train).tokens == 11);
    CHECK_FALSE(prepared.dataset->has(Split::held_out));
    CHECK_THROWS_WITH(prepared.dataset->tokens(Split::held_out), Catch::Contains("held-out fraction above 0"));
}

TEST_CASE("CRLF, byte order mark, white space of Unicode and lines without tokens") {
    const TemporaryFolder text;
    const Documents expected{{"one", "two"}, {"three"}};
    write_file(text.path() / "a.txt", "\xEF\xBB\xBFone\r\ntwo\r\n\r\nthree\r\n");
    CHECK(Prepared(text.path()).train == expected);
    write_file(text.path() / "a.txt", "one\ntwo\n\xE3\x80\x80\xC2\xA0\xE2\x80\xA8\nthree");
    CHECK(Prepared(text.path()).train == expected);
    // A soft hyphen is a control character: the line has no tokens, is dropped, and is not a border.
    write_file(text.path() / "a.txt", "one\n\xC2\xAD\ntwo\n\nthree");
    const Prepared dropped(text.path());
    CHECK(dropped.train == expected);
    CHECK(dropped.info.text.lines_without_tokens == 1);
}

TEST_CASE("invalid UTF-8 and late NUL bytes are dropped and counted") {
    const TemporaryFolder text;
    write_file(text.path() / "a.txt", "one\xff\xfe two\nthr\xC3");
    const Prepared prepared(text.path());
    CHECK(prepared.train == Documents{{"one two", "t ##h ##r"}});
    CHECK(prepared.info.text.invalid_utf8 == 3);
    CHECK_THAT(prepare_warnings(prepared.info).at(0), Catch::Contains("3 invalid UTF-8"));

    std::string late(70000, ' ');
    late += "one";
    late += '\0';
    late += " two";
    write_file(text.path() / "a.txt", late);
    const Prepared nul(text.path());
    CHECK(nul.train == Documents{{"one two"}});
    CHECK(nul.info.text.nul_bytes == 1);
}

TEST_CASE("paragraphs are split into sentences, on request or when they look like it") {
    const TemporaryFolder text;
    const std::string paragraphs = "One two. Three four! Five?\nSix one two. Three.\n\nFour five six. One.\n";
    write_file(text.path() / "a.txt", paragraphs);
    const Documents split{{"one two .", "three four !", "five ?", "six one two .", "three ."},
                          {"four five six .", "one ."}};
    CHECK(Prepared(text.path(), TextFormat::paragraphs).train == split);
    const Prepared detected(text.path());
    CHECK(detected.train == split);
    CHECK(detected.info.text.files_as_paragraphs == 1);
    CHECK(Prepared(text.path(), TextFormat::lines).train.at(0).size() == 2);
    CHECK(detect_format("one two .\nthree four .\nFive six. One two.\n") == TextFormat::lines);
    CHECK(detect_format("") == TextFormat::lines);
    CHECK_THROWS_WITH(parse_text_format("json"), Catch::Contains("auto, lines, paragraphs"));
}

TEST_CASE("folders are walked in the order of paths, and other files, empty ones and datasets are passed over") {
    const TemporaryFolder text;
    write_file(text.path() / "z" / "c.txt", "three");
    write_file(text.path() / "b.txt", "two");
    write_file(text.path() / "a" / "x.txt", "one");
    write_file(text.path() / "notes.md", "four");
    write_file(text.path() / "empty.txt", "");
    const Prepared prepared({.inputs = {text.path(), text.path() / "b.txt"}, .output = {}, .held_out_fraction = 0});
    CHECK(prepared.train == Documents{{"one"}, {"two"}, {"three"}});
    CHECK(prepared.info.text.files == 3);
    CHECK(prepared.info.text.skipped_files == 1);
    CHECK(prepared.info.text.empty_files == 1);
    CHECK(prepared.info.text.repeated_files == 1);
    fs::copy(prepared.dataset->folder(), text.path() / "data");
    CHECK(Prepared(text.path()).train.size() == 3);  // the dataset's vocab.txt is not text
    // A file named itself is taken whatever its name.
    CHECK(Prepared(text.path() / "notes.md").train == Documents{{"four"}});
}

TEST_CASE("what is passed over is told, and links to nowhere do not stop the walk") {
    const TemporaryFolder text;
    write_file(text.path() / "a" / "one.txt", "one");
    write_file(text.path() / "empty.txt", "");
    fs::create_symlink("nowhere.txt", text.path() / "broken.txt");
    fs::create_symlink("circle.txt", text.path() / "circle.txt");
    fs::create_directory_symlink("a", text.path() / "linked");
    fs::create_symlink("a/one.txt", text.path() / "again.txt");
    const Prepared prepared(text.path());
    CHECK(prepared.train == Documents{{"one"}});
    CHECK(prepared.info.text.skipped_files == 3);
    CHECK(prepared.info.text.empty_files == 1);
    CHECK(prepared.info.text.repeated_files == 1);
    const auto warnings = prepare_warnings(prepared.info);
    REQUIRE(warnings.size() == 3);
    CHECK(warnings == text_warnings(prepared.info.text));
    CHECK_THAT(warnings[0], Catch::StartsWith("3 files in folders were passed over"));
    CHECK_THAT(warnings[1], Catch::StartsWith("1 empty files"));
    CHECK_THAT(warnings[2], Catch::StartsWith("1 files were named twice"));
    CHECK(text_warnings({}).empty());
    CHECK_THAT(message_of({.inputs = {text.path() / "broken.txt"}, .output = text.path() / "out"}),
               Catch::Contains("broken.txt does not exist"));
}

TEST_CASE("text, vocabulary, shard or manifest that may not be read is the machine's failure, told by its own name") {
    const TemporaryFolder folder;
    fs::permissions(folder.path(), fs::perms::all);
    write_file(folder.path() / "text" / "deep" / "closed" / "a.txt", "one");
    write_file(folder.path() / "text" / "deep" / "closed.txt", "one");
    write_file(folder.path() / "good.txt", "one\n\ntwo");
    const fs::path data = folder.path() / "data";
    prepare_dataset(letters(), {.inputs = {folder.path() / "good.txt"}, .output = data, .held_out_fraction = 0});
    const auto refused = [](const fs::path& closed, const auto& body) {
        const fs::perms before = fs::status(closed).permissions();
        fs::permissions(closed, fs::perms::none);
        {
            const Stranger stranger;
            if (stranger) expect_error(Fault::io, {closed.string(), "Permission denied"}, body);
            if (!stranger) skip("root may not become another user here");
        }
        fs::permissions(closed, before);
    };
    const auto prepare = [&] {
        prepare_dataset(letters(), {.inputs = {folder.path() / "text"}, .output = folder.path() / "out"});
    };
    refused(folder.path() / "text" / "deep" / "closed", prepare);
    refused(folder.path() / "text" / "deep" / "closed.txt", prepare);
    for (const char* name : {"", "dataset.json", "vocab.txt", "train-00000.shard"}) {
        refused(data / name, [&] { Dataset::open(data); });
    }
    for (const char* name : {"dataset.json", "vocab.txt", "train-00000.shard"}) {
        fs::rename(data / name, folder.path() / "away");
        expect_error(Fault::input, {data.string()}, [&] { Dataset::open(data); });
        fs::rename(folder.path() / "away", data / name);
    }
}

TEST_CASE("a file name that is not UTF-8 is prepared, and recorded with replacement characters") {
    const TemporaryFolder text;
    write_file(text.path() / "caf\xe9.txt", "one");
    const Prepared prepared(text.path() / "caf\xe9.txt");
    CHECK(prepared.train == Documents{{"one"}});
    CHECK(prepared.dataset->info().inputs == std::vector<std::string>{(text.path() / "caf\ufffd.txt").string()});
}

TEST_CASE("the bytes are the same at any number of threads") {
    const TemporaryFolder text, output;
    write_corpus(text.path());
    std::vector<std::map<std::string, std::string>> results;
    for (const int threads : {1, 2, 3}) {
        const fs::path folder = output.path() / std::to_string(threads);
        std::int64_t done = 0, total = 0;
        prepare_dataset(letters(), {.inputs = {text.path()},
                                    .output = folder,
                                    .shard_tokens = 30000,
                                    .threads = threads,
                                    .progress = [&](const PrepareProgress& progress) {
                                        CHECK(progress.bytes_done >= done);
                                        done = progress.bytes_done;
                                        total = progress.bytes_total;
                                    }});
        CHECK(done == total);
        CHECK(total > 500000);
        results.push_back(files_of(folder));
    }
    CHECK(results[0].count("train-00003.shard") == 1);
    CHECK(results[0].count("heldout-00000.shard") == 1);
    CHECK(results[0] == results[1]);
    CHECK(results[0] == results[2]);
}

TEST_CASE("splits and shards hold every document once, and shards do not change what the store gives") {
    const TemporaryFolder text;
    write_corpus(text.path());
    const Prepared one({.inputs = {text.path()}, .output = {}, .held_out_fraction = 0});
    const Prepared many({.inputs = {text.path()}, .output = {}, .held_out_fraction = 0, .shard_tokens = 20000});
    CHECK(many.info.split(Split::train).shards.size() > 5);
    CHECK(one.train == many.train);
    const Prepared split(text.path(), TextFormat::automatic, 0.1);
    CHECK(split.train.size() + split.held_out.size() == one.train.size());
    CHECK(std::abs(static_cast<double>(split.held_out.size()) - 0.1 * static_cast<double>(one.train.size())) <
          3 * std::sqrt(0.09 * static_cast<double>(one.train.size())));
    // Held-out documents keep their order, and the rest is the training split.
    std::size_t t = 0, h = 0;
    for (const auto& document : one.train) {
        if (t < split.train.size() && split.train[t] == document) {
            ++t;
        } else {
            REQUIRE(h < split.held_out.size());
            REQUIRE(split.held_out[h++] == document);
        }
    }
}

TEST_CASE("the smallest corpora still have a held-out and a training document") {
    const TemporaryFolder text;
    for (const double fraction : {0.001, 0.5}) {
        for (std::uint64_t seed = 0; seed < 8; ++seed) {
            write_file(text.path() / "a.txt", "one\n\ntwo\n");
            const Prepared two({.inputs = {text.path()}, .output = {}, .held_out_fraction = fraction, .seed = seed});
            REQUIRE(two.train.size() == 1);
            REQUIRE(two.held_out.size() == 1);
            write_file(text.path() / "a.txt", "one\ntwo\n");
            const Prepared single({.inputs = {text.path()}, .output = {}, .held_out_fraction = fraction, .seed = seed});
            REQUIRE(single.train.size() == 1);
            REQUIRE(single.held_out.empty());
            REQUIRE_THAT(prepare_warnings(single.info).at(0), Catch::Contains("one document only"));
        }
    }
}

TEST_CASE("lines and documents that are too long are cut") {
    const TemporaryFolder text;
    std::string line;
    while (line.size() < (9u << 20)) line += "one two three ";
    write_file(text.path() / "a.txt", line);
    const Prepared cut(text.path(), TextFormat::lines);
    CHECK(cut.info.text.cut_lines == 2);
    CHECK(cut.train.at(0).size() == 3);
    CHECK(cut.info.split(Split::train).tokens == static_cast<std::int64_t>(line.size() / 14 * 3));
    CHECK(cut.info.text.unknown_tokens == 0);

    std::string lines;
    for (int i = 0; i < 100; ++i) lines += "one two three four five six\n";
    write_file(text.path() / "a.txt", lines);
    const Prepared shards({.inputs = {text.path()}, .output = {}, .held_out_fraction = 0, .shard_tokens = 60});
    CHECK(shards.info.text.cut_documents == 9);
    CHECK(shards.train.size() == 10);
    CHECK(shards.info.split(Split::train).shards.size() == 10);
}

TEST_CASE("bad input gives one line with the remedy and leaves nothing") {
    const TemporaryFolder folder;
    const fs::path output = folder.path() / "out";
    const auto message = [&](const fs::path& input) { return message_of({.inputs = {input}, .output = output}); };
    using Catch::Contains;
    CHECK_THAT(message(folder.path() / "none.txt"), Contains("none.txt does not exist; check the path"));
    write_file(folder.path() / "empty.txt", "");
    CHECK_THAT(message(folder.path() / "empty.txt"), Contains("empty.txt is empty"));
    fs::create_directories(folder.path() / "folder");
    CHECK_THAT(message(folder.path() / "folder"), Contains("no text in the input: 0 empty .txt files, 0 files"));
    write_file(folder.path() / "folder" / "a.md", "one");
    CHECK_THAT(message(folder.path() / "folder"), Contains("1 files of other kinds"));
    write_file(folder.path() / "binary.txt", std::string("one\0two", 7));
    CHECK_THAT(message(folder.path() / "binary.txt"), Contains("binary.txt is not plain text: byte 3 is NUL"));
    write_file(folder.path() / "blank.txt", "\n \n\t\n\xC2\xAD\n");
    CHECK_THAT(message(folder.path() / "blank.txt"), Contains("not one token"));
    write_file(folder.path() / "good.txt", "one\n\ntwo");
    CHECK_THAT(message_of({.inputs = {}, .output = output}, Fault::usage), Contains("--input"));
    CHECK_THAT(
        message_of({.inputs = {folder.path() / "good.txt"}, .output = output, .held_out_fraction = 0.6}, Fault::usage),
        Contains("held-out fraction is 0.6"));
    CHECK_THAT(message_of({.inputs = {folder.path() / "good.txt"}, .output = output, .shard_tokens = 0}, Fault::usage),
               Contains("shard tokens is 0"));
    CHECK_THAT(message_of({.inputs = {folder.path() / "good.txt"}, .output = output, .cancelled = [] { return true; }},
                          Fault::interrupted),
               Contains("interrupted; " + output.string() + " is unchanged"));
    // Looking for the text may take long too: what is wrong with it does not count any more.
    CHECK_THAT(
        message_of({.inputs = {folder.path() / "binary.txt"}, .output = output, .cancelled = [] { return true; }},
                   Fault::interrupted),
        Contains("interrupted"));
    CHECK_THAT(message_of({.inputs = {folder.path() / "folder"}, .output = output, .cancelled = [] { return true; }},
                          Fault::interrupted),
               Contains("interrupted"));
    CHECK_FALSE(fs::exists(output));
    for (const auto& entry : fs::directory_iterator(folder.path())) {
        CHECK(entry.path().filename().string().find("tmp") == std::string::npos);
    }
}

TEST_CASE("a disk that fills up at any write leaves no dataset, and the next run makes it") {
    const TemporaryFolder folder;
    write_file(folder.path() / "a.txt", "one\n\ntwo\n\nthree");
    const PrepareSettings settings{
        .inputs = {folder.path() / "a.txt"}, .output = folder.path() / "out", .held_out_fraction = 0.3};
    int calls = 0;
    {
        FaultyCalls counting;
        const SystemCallsReplacement replacement(counting);
        prepare_dataset(letters(), settings);
        calls = counting.calls();
        fs::remove_all(settings.output);
    }
    int struck = 0;
    for (int at = 0; at < calls; ++at) {
        FaultyCalls full({.at = at, .mode = FaultMode::fill_disk});
        {
            const SystemCallsReplacement replacement(full);
            try {
                prepare_dataset(letters(), settings);
            } catch (const Error& error) {
                ++struck;
                REQUIRE(error.fault() == Fault::io);
                REQUIRE_THAT(error.what(), Catch::Contains("No space left on device"));
                REQUIRE_FALSE(fs::exists(settings.output));
            }
        }
        if (fs::exists(settings.output)) Dataset::open(settings.output).verify();
        fs::remove_all(settings.output);
    }
    CHECK(struck > 3);
    prepare_dataset(letters(), settings);
    Dataset::open(settings.output).verify();
}

TEST_CASE("an output folder with anything but a dataset is never replaced, a dataset only on request") {
    const TemporaryFolder folder;
    write_file(folder.path() / "a.txt", "one\n\ntwo");
    PrepareSettings settings{.inputs = {folder.path() / "a.txt"}, .output = folder.path() / "out"};
    write_file(settings.output / "thesis.tex", "years of work");
    CHECK_THAT(message_of(settings, Fault::usage), Catch::Contains("holds thesis.tex, which is not part of a dataset"));
    settings.overwrite = true;
    CHECK_THAT(message_of(settings, Fault::usage), Catch::Contains("thesis.tex"));
    fs::remove(settings.output / "thesis.tex");
    settings.overwrite = false;
    prepare_dataset(letters(), settings);  // an empty folder is fine
    const auto before = files_of(settings.output);
    CHECK_THROWS_WITH(prepare_dataset(letters(), settings), Catch::Contains("holds a dataset already"));
    CHECK(files_of(settings.output) == before);
    settings.overwrite = true;
    write_file(folder.path() / "a.txt", "one\n\ntwo\n\nthree");
    prepare_dataset(letters(), settings);
    CHECK(files_of(settings.output) != before);
    write_file(settings.output / "thesis.tex", "years of work");
    CHECK_THROWS_WITH(prepare_dataset(letters(), settings), Catch::Contains("thesis.tex"));
    write_file(folder.path() / "file", "x");
    settings.output = folder.path() / "file";
    CHECK_THAT(message_of(settings, Fault::usage), Catch::Contains("is not a folder"));
}

TEST_CASE("what a killed run left of the output is cleared, and the dataset it was replacing comes back") {
    const TemporaryFolder folder;
    write_file(folder.path() / "a.txt", "one\n\ntwo");
    PrepareSettings settings{.inputs = {folder.path() / "a.txt"}, .output = folder.path() / "out"};
    const std::string tail = "-0123456789abcdef";
    prepare_dataset(letters(), settings);
    fs::rename(settings.output, folder.path() / ("out.old" + tail));
    write_file(folder.path() / ("out.tmp" + tail) / "train-00000.shard", "half");
    write_file(folder.path() / ("other.tmp" + tail) / "train-00000.shard", "of another run");
    CHECK_THROWS_WITH(prepare_dataset(letters(), settings), Catch::Contains("holds a dataset already"));
    Dataset::open(settings.output).verify();
    settings.overwrite = true;
    prepare_dataset(letters(), settings);
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder.path())) names.insert(entry.path().filename().string());
    CHECK(names == std::set<std::string>{"a.txt", "out", "other.tmp" + tail});
}

TEST_CASE("a dataset that was tampered with is refused with the file's name") {
    const TemporaryFolder text;
    write_file(text.path() / "a.txt", "one\n\ntwo\n\nthree");
    const Prepared prepared(text.path(), TextFormat::automatic, 0.3);
    const TemporaryFolder work;
    const auto complaint = [&](auto change) -> std::string {
        const fs::path folder = work.path() / "data";
        fs::remove_all(folder);
        fs::copy(prepared.dataset->folder(), folder);
        change(folder);
        try {
            Dataset::open(folder).verify(2);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    using Catch::Contains;
    CHECK(complaint([](const fs::path&) {}).empty());
    CHECK_THAT(complaint([](const fs::path& f) { fs::remove(f / "dataset.json"); }), Contains("cloze prepare"));
    CHECK_THAT(complaint([](const fs::path& f) { fs::remove(f / "train-00000.shard"); }),
               Contains("train-00000.shard"));
    CHECK_THAT(complaint([](const fs::path& f) { fs::resize_file(f / "train-00000.shard", 300); }),
               Contains("train-00000.shard"));
    CHECK_THAT(complaint([](const fs::path& f) {
                   std::string bytes = read_file(f / "train-00000.shard");
                   bytes[65] = static_cast<char>(bytes[65] ^ 1);
                   write_file(f / "train-00000.shard", bytes);
               }),
               Contains("train-00000.shard: tokens: the checksum does not match"));
    CHECK_THAT(complaint([](const fs::path& f) {
                   fs::copy_file(f / "heldout-00000.shard", f / "train-00000.shard",
                                 fs::copy_options::overwrite_existing);
               }),
               Contains("train"));
    CHECK_THAT(complaint([](const fs::path& f) {
                   AlignedBytes shard(read_file(f / "train-00000.shard"));
                   shard.table().vocabulary_size += 1;
                   shard.sign();
                   write_file(f / "train-00000.shard",
                              {reinterpret_cast<const char*>(shard.bytes().data()), shard.bytes().size()});
               }),
               Contains("train-00000.shard: made with another vocabulary (68 entries, ") && Contains("(67, "));
    CHECK_THAT(complaint([](const fs::path& f) {
                   std::string vocabulary = read_file(f / "vocab.txt");
                   write_file(f / "vocab.txt", vocabulary + "extra\n");
               }),
               Contains("vocab.txt is not the vocabulary"));
    CHECK_THAT(complaint([](const fs::path& f) {
                   std::string manifest = read_file(f / "dataset.json");
                   manifest[manifest.find("documents")] = 'D';
                   write_file(f / "dataset.json", manifest);
               }),
               Contains("dataset.json"));
    const Prepared other(text.path(), TextFormat::automatic, 0.3);
    CHECK(other.dataset->tokens(Split::train)->identity() == prepared.dataset->tokens(Split::train)->identity());
    CHECK(other.dataset->tokens(Split::train)->identity() != other.dataset->tokens(Split::held_out)->identity());
    const DatasetInfo& info = prepared.info;
    CHECK(dataset_json(parse_dataset(dataset_json(info), "again")) == dataset_json(info));
}

TEST_CASE("movie_reviews: 2,000 documents, a sentence a line, the same at any number of threads") {
    const auto data = test_data();
    if (!data) return skip("CLOZE_TEST_DATA is not set");
    if (std::system("command -v unzip > /dev/null") != 0) return skip("unzip is not installed");
    const TemporaryFolder folder;
    const std::string command = "unzip -q '" + (*data / "movie_reviews" / "movie_reviews.zip").string() + "' -d '" +
                                folder.path().string() + "'";
    REQUIRE(std::system(command.c_str()) == 0);
    const Vocabulary vocabulary = Vocabulary::read(*data / "vocab" / "bert-base-uncased-vocab.txt");
    std::vector<std::map<std::string, std::string>> results;
    for (const int threads : {1, 3}) {
        const fs::path output = folder.path() / ("data" + std::to_string(threads));
        const DatasetInfo info = prepare_dataset(
            vocabulary, {.inputs = {folder.path() / "movie_reviews"}, .output = output, .threads = threads});
        CHECK(info.text.files == 2000);
        CHECK(info.split(Split::train).documents + info.split(Split::held_out).documents == 2000);
        CHECK(info.text.files_as_lines > 1900);
        CHECK(info.text.unknown_tokens * 1000 < info.split(Split::train).tokens);
        results.push_back(files_of(output));
    }
    CHECK(results[0] == results[1]);
}
