#include "engine/text/sentences.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>

using namespace cloze;
using Sentences = std::vector<std::string_view>;

namespace {

Sentences split(std::string_view paragraph) {
    Sentences sentences;
    split_sentences(paragraph, sentences);
    return sentences;
}

std::string without_space(std::string_view text) {
    std::string rest;
    for (const char c : text) {
        if (c != ' ' && c != '\n' && c != '\t') rest += c;
    }
    return rest;
}

}  // namespace

TEST_CASE("a full stop before a capital ends a sentence") {
    CHECK(split("It rained. We left! Why? Because.") == Sentences{"It rained.", "We left!", "Why?", "Because."});
    CHECK(split("  One line.\nAnother\nline.  ") == Sentences{"One line.", "Another\nline."});
    CHECK(split("No stop at all") == Sentences{"No stop at all"});
    CHECK(split("").empty());
    CHECK(split(" \n\t ").empty());
    CHECK(split("Really?! Yes.") == Sentences{"Really?!", "Yes."});
}

TEST_CASE("nothing is cut inside a word or a number, or before a lower-case letter") {
    CHECK(split("Pi is 3.14 or so. See example.com now.") == Sentences{"Pi is 3.14 or so.", "See example.com now."});
    CHECK(split("He said \"stop!\" and left. Then rain.") == Sentences{"He said \"stop!\" and left.", "Then rain."});
    CHECK(split("Well... maybe. Well... Maybe not.") == Sentences{"Well... maybe.", "Well...", "Maybe not."});
    CHECK(split("Wait\u2026 what? Yes\u2026 No.") == Sentences{"Wait\u2026 what?", "Yes\u2026", "No."});
}

TEST_CASE("closing quotes and brackets stay with the sentence they close") {
    CHECK(split("\"Go.\" He went.") == Sentences{"\"Go.\"", "He went."});
    CHECK(split("(It rained.) We left.") == Sentences{"(It rained.)", "We left."});
    CHECK(split("\u201cGo.\u201d \u201cNo.\u201d") == Sentences{"\u201cGo.\u201d", "\u201cNo.\u201d"});
    CHECK(split("It ended. (So we left.) Good.") == Sentences{"It ended.", "(So we left.)", "Good."});
}

TEST_CASE("titles, initials and abbreviations do not end sentences") {
    CHECK(split("Dr. Smith met Mr. J. R. Jones. They spoke.") ==
          Sentences{"Dr. Smith met Mr. J. R. Jones.", "They spoke."});
    CHECK(split("See Fig. 3 and pp. 4. It is No. 5 here. Say no. Then go.") ==
          Sentences{"See Fig. 3 and pp. 4.", "It is No. 5 here.", "Say no.", "Then go."});
    CHECK(split("Use tools, e.g. Hammers. Done.") == Sentences{"Use tools, e.g. Hammers.", "Done."});
    CHECK(split("The U.S. Army came. It left the U.S. The end.") ==
          Sentences{"The U.S. Army came.", "It left the U.S.", "The end."});
    CHECK(split("Acme Inc. Reports said so. He works at Acme Inc. He likes it.") ==
          Sentences{"Acme Inc. Reports said so.", "He works at Acme Inc.", "He likes it."});
    CHECK(split("So did I. The rest slept.") == Sentences{"So did I.", "The rest slept."});
    CHECK(split("1. Introduction. 2. Method.") == Sentences{"1. Introduction.", "2. Method."});
    CHECK(split("It was 1999. Everything changed.") == Sentences{"It was 1999.", "Everything changed."});
}

TEST_CASE("text without capitals is cut at every stop") {
    CHECK(split("it rained . we left . why ?") == Sentences{"it rained .", "we left .", "why ?"});
    CHECK(split("pi is 3.14 . see mr. smith .") == Sentences{"pi is 3.14 .", "see mr. smith ."});
}

TEST_CASE("CJK full stops need no space, and other scripts have their own") {
    CHECK(split("\u4eca\u5929\u4e0b\u96e8\u3002\u6211\u4eec\u8d70\u4e86\uff01\u597d\u3002") ==
          Sentences{"\u4eca\u5929\u4e0b\u96e8\u3002", "\u6211\u4eec\u8d70\u4e86\uff01", "\u597d\u3002"});
    CHECK(split("\u300c\u4e0b\u96e8\u3002\u300d\u8d70\u3002") ==
          Sentences{"\u300c\u4e0b\u96e8\u3002\u300d", "\u8d70\u3002"});
    CHECK(split("\u0915\u0964 \u0916\u0964") == Sentences{"\u0915\u0964", "\u0916\u0964"});
    CHECK(split("\u00c9t\u00e9. \u00c0 demain. \u0414\u0430. \u041d\u0435\u0442.") ==
          Sentences{"\u00c9t\u00e9.", "\u00c0 demain.", "\u0414\u0430.", "\u041d\u0435\u0442."});
}

TEST_CASE("sentences hold every character that is not white space, in order, on random text") {
    std::mt19937 random(3);
    const std::string_view parts[] = {".", "!", "\"", ")", "(",      " ",      " ",    "\n",
                                      "A", "b", "Mr", "1", "\u3002", "\u201d", "\xff", "..."};
    for (int i = 0; i < 20000; ++i) {
        std::string text;
        for (int length = static_cast<int>(random() % 20); length > 0; --length)
            text += parts[random() % std::size(parts)];
        std::string joined;
        const char* end = text.data();
        for (const std::string_view sentence : split(text)) {
            if (sentence.empty() || sentence.data() < end) FAIL(text);
            end = sentence.data() + sentence.size();
            joined += without_space(sentence);
        }
        if (joined != without_space(text)) FAIL(text);
    }
}
