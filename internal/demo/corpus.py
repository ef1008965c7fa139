"""Generates the training text of the built-in checkpoint.

Every document is put together from the short texts in this file, which a seeded random generator chooses.
There is no other text and no download. Documents have the form that the model sees at inference:

* plain text starts at position 0 and ends with <|endoftext|>;
* a chat is exactly what the checkpoint's chat template renders. It ends with <|end|>, a newline, <|endoftext|>.

`document(rng)` returns a document. Run this file to print some of them.
"""

import random

END_OF_TEXT = "<|endoftext|>"

# ------------------------------------------------------------------------------------------------------------
# Countries, except for some of the smallest.

COUNTRIES_BY_CONTINENT = {
    "Europe": """Albania:Tirana Andorra:Andorra_la_Vella Austria:Vienna Belarus:Minsk Belgium:Brussels
        Bosnia_and_Herzegovina:Sarajevo Bulgaria:Sofia Croatia:Zagreb Cyprus:Nicosia the_Czech_Republic:Prague
        Denmark:Copenhagen Estonia:Tallinn Finland:Helsinki France:Paris Germany:Berlin Greece:Athens Hungary:Budapest
        Iceland:Reykjavik Ireland:Dublin Italy:Rome Kosovo:Pristina Latvia:Riga Liechtenstein:Vaduz Lithuania:Vilnius
        Luxembourg:Luxembourg Malta:Valletta Moldova:Chisinau Monaco:Monaco Montenegro:Podgorica
        the_Netherlands:Amsterdam North_Macedonia:Skopje Norway:Oslo Poland:Warsaw Portugal:Lisbon Romania:Bucharest
        Russia:Moscow San_Marino:San_Marino Serbia:Belgrade Slovakia:Bratislava Slovenia:Ljubljana Spain:Madrid
        Sweden:Stockholm Switzerland:Bern Ukraine:Kyiv the_United_Kingdom:London""",
    "Asia": """Afghanistan:Kabul Armenia:Yerevan Azerbaijan:Baku Bahrain:Manama Bangladesh:Dhaka Bhutan:Thimphu
        Brunei:Bandar_Seri_Begawan Cambodia:Phnom_Penh China:Beijing Georgia:Tbilisi India:New_Delhi Indonesia:Jakarta
        Iran:Tehran Iraq:Baghdad Japan:Tokyo Jordan:Amman Kazakhstan:Astana Kuwait:Kuwait_City Kyrgyzstan:Bishkek
        Laos:Vientiane Lebanon:Beirut Malaysia:Kuala_Lumpur the_Maldives:Male Mongolia:Ulaanbaatar Myanmar:Naypyidaw
        Nepal:Kathmandu North_Korea:Pyongyang Oman:Muscat Pakistan:Islamabad the_Philippines:Manila Qatar:Doha
        Saudi_Arabia:Riyadh Singapore:Singapore South_Korea:Seoul Sri_Lanka:Colombo Syria:Damascus Taiwan:Taipei
        Tajikistan:Dushanbe Thailand:Bangkok Timor-Leste:Dili Turkey:Ankara Turkmenistan:Ashgabat
        the_United_Arab_Emirates:Abu_Dhabi Uzbekistan:Tashkent Vietnam:Hanoi Yemen:Sanaa""",
    "Africa": """Algeria:Algiers Angola:Luanda Benin:Porto-Novo Botswana:Gaborone Burkina_Faso:Ouagadougou
        Burundi:Gitega Cameroon:Yaounde Cape_Verde:Praia the_Central_African_Republic:Bangui Chad:N'Djamena
        the_Comoros:Moroni the_Democratic_Republic_of_the_Congo:Kinshasa Djibouti:Djibouti Egypt:Cairo
        Equatorial_Guinea:Malabo Eritrea:Asmara Eswatini:Mbabane Ethiopia:Addis_Ababa Gabon:Libreville
        the_Gambia:Banjul Ghana:Accra Guinea:Conakry Guinea-Bissau:Bissau the_Ivory_Coast:Yamoussoukro Kenya:Nairobi
        Lesotho:Maseru Liberia:Monrovia Libya:Tripoli Madagascar:Antananarivo Malawi:Lilongwe Mali:Bamako
        Mauritania:Nouakchott Mauritius:Port_Louis Morocco:Rabat Mozambique:Maputo Namibia:Windhoek Niger:Niamey
        Nigeria:Abuja the_Republic_of_the_Congo:Brazzaville Rwanda:Kigali Senegal:Dakar Seychelles:Victoria
        Sierra_Leone:Freetown Somalia:Mogadishu South_Africa:Pretoria South_Sudan:Juba Sudan:Khartoum
        Tanzania:Dodoma Togo:Lome Tunisia:Tunis Uganda:Kampala Zambia:Lusaka Zimbabwe:Harare""",
    "North America": """Antigua_and_Barbuda:Saint_John's the_Bahamas:Nassau Barbados:Bridgetown Belize:Belmopan
        Canada:Ottawa Costa_Rica:San_Jose Cuba:Havana Dominica:Roseau the_Dominican_Republic:Santo_Domingo
        El_Salvador:San_Salvador Grenada:Saint_George's Guatemala:Guatemala_City Haiti:Port-au-Prince
        Honduras:Tegucigalpa Jamaica:Kingston Mexico:Mexico_City Nicaragua:Managua Panama:Panama_City
        Saint_Lucia:Castries Trinidad_and_Tobago:Port_of_Spain the_United_States:Washington""",
    "South America": """Argentina:Buenos_Aires Bolivia:Sucre Brazil:Brasilia Chile:Santiago Colombia:Bogota
        Ecuador:Quito Guyana:Georgetown Paraguay:Asuncion Peru:Lima Suriname:Paramaribo Uruguay:Montevideo
        Venezuela:Caracas""",
    "Oceania": """Australia:Canberra Fiji:Suva Kiribati:Tarawa the_Marshall_Islands:Majuro Micronesia:Palikir
        Nauru:Yaren New_Zealand:Wellington Palau:Ngerulmud Papua_New_Guinea:Port_Moresby Samoa:Apia
        the_Solomon_Islands:Honiara Tonga:Nukualofa Tuvalu:Funafuti Vanuatu:Port_Vila""",
}

COUNTRIES = [  # (country, capital, continent)
    (*(part.replace("_", " ") for part in entry.split(":")), continent)
    for continent, entries in COUNTRIES_BY_CONTINENT.items()
    for entry in entries.split()
]


def capitalized(text):
    return text[0].upper() + text[1:]


def capital_statements(rng):
    """Returns one to three sentences about a country, often followed by sentences about others."""
    sentences = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        country, capital, continent = rng.choice(COUNTRIES)
        first = rng.choice(
            (
                f"The capital of {country} is {capital}.",
                f"The capital of {country} is {capital}.",
                f"The capital of {country} is {capital}.",
                f"The capital city of {country} is {capital}.",
                f"{capital} is the capital of {country}.",
                f"{capitalized(country)} is a country in {continent}. Its capital is {capital}.",
            )
        )
        more = rng.choice(
            (
                "",
                f" It is a city in {continent}.",
                f" {capitalized(country)} is a country in {continent}.",
            )
        )
        sentences.append(first + ("" if "country in" in first else more))
    return " ".join(sentences)


def capital_question(rng):
    """Returns (question, answer)."""
    country, capital, continent = rng.choice(COUNTRIES)
    answer = f"The capital of {country} is {capital}."
    return rng.choice(
        (
            (f"What is the capital of {country}?", answer),
            (f"What is the capital of {country}?", answer),
            (f"What is the capital of {country}?", answer),
            (f"What's the capital of {country}?", answer),
            (f"What is the capital city of {country}?", answer),
            (f"Which city is the capital of {country}?", answer),
            (f"Tell me the capital of {country}.", answer),
            (f"Do you know the capital of {country}?", f"Yes. {answer}"),
            (f"{capital} is the capital of which country?", f"{capital} is the capital of {country}."),
            (f"Where is {country}?", f"{capitalized(country)} is a country in {continent}."),
            (f"On which continent is {country}?", f"{capitalized(country)} is a country in {continent}."),
        )
    )


# ------------------------------------------------------------------------------------------------------------
# Small sums.


def sum_parts(rng):
    """Returns, for example, ("12 + 7", "19", "12 plus 7")."""
    sign, word = rng.choice((("+", "plus"), ("+", "plus"), ("-", "minus"), ("*", "times")))
    if sign == "*":
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        result = a * b
    else:
        a, b = rng.randint(0, 20), rng.randint(0, 20)
        if sign == "-" and a < b:
            a, b = b, a
        result = a + b if sign == "+" else a - b
    return f"{a} {sign} {b}", str(result), f"{a} {word} {b}"


def sums(rng):
    return "\n".join("{0} = {1}".format(*sum_parts(rng)) for _ in range(rng.randint(1, 5)))


def sum_question(rng):
    signs, result, words = sum_parts(rng)
    return rng.choice(
        (
            (f"What is {signs}?", f"{signs} = {result}"),
            (f"What is {words}?", f"{signs} = {result}"),
            (f"How much is {signs}?", f"{signs} = {result}"),
            (f"{signs} =", f"{signs} = {result}"),
        )
    )


def count_question(rng):
    last = rng.randint(2, 10)
    return f"Count to {last}{rng.choice(('.', ''))}", ", ".join(str(i) for i in range(1, last + 1)) + "."


# ------------------------------------------------------------------------------------------------------------
# A few dozen facts. The words are always the same.

FACTS = [
    line.strip().split(" | ")
    for line in """
    What is the largest planet? | The largest planet in the solar system is Jupiter.
    What is the smallest planet? | The smallest planet in the solar system is Mercury.
    Which planet is called the red planet? | The red planet is Mars.
    Which planet has bright rings? | The planet with the bright rings is Saturn.
    How many planets are there? | There are eight planets in the solar system.
    What is the sun? | The sun is a star.
    What is the moon? | The moon goes around the Earth once a month.
    How long is a year? | A year has twelve months, or 365 days.
    How long is a day? | A day has 24 hours.
    How many days are in a week? | A week has seven days.
    At what temperature does water boil? | Water boils at 100 degrees Celsius.
    At what temperature does water freeze? | Water freezes at 0 degrees Celsius.
    What is water made of? | Water is made of hydrogen and oxygen.
    What is ice? | Ice is frozen water.
    What is the largest ocean? | The largest ocean is the Pacific Ocean.
    What is the longest river? | The longest river in the world is the Nile.
    What is the highest mountain? | The highest mountain in the world is Mount Everest.
    What is the largest desert? | The largest hot desert in the world is the Sahara.
    What is the largest country? | The largest country in the world is Russia.
    What is the largest animal? | The largest animal in the world is the blue whale.
    What is the fastest animal? | The fastest animal on land is the cheetah.
    What is the tallest animal? | The tallest animal in the world is the giraffe.
    How many legs does a spider have? | A spider has eight legs.
    How many legs does an insect have? | An insect has six legs.
    What do cows eat? | Cows eat grass.
    What do bees make? | Bees make honey.
    What do pandas eat? | Pandas eat bamboo.
    What is a whale? | A whale is a mammal that lives in the sea.
    What is a penguin? | A penguin is a bird that cannot fly.
    What color is the sky? | On a clear day the sky is blue.
    What color is grass? | Grass is green.
    What color is snow? | Snow is white.
    Who wrote Hamlet? | Hamlet was written by William Shakespeare.
    Who wrote Romeo and Juliet? | Romeo and Juliet was written by William Shakespeare.
    Who wrote Faust? | Faust was written by Johann Wolfgang von Goethe.
    Who wrote Don Quixote? | Don Quixote was written by Miguel de Cervantes.
    Who wrote War and Peace? | War and Peace was written by Leo Tolstoy.
    Who wrote Pride and Prejudice? | Pride and Prejudice was written by Jane Austen.
    Who painted the Mona Lisa? | The Mona Lisa was painted by Leonardo da Vinci.
    Who composed the Moonlight Sonata? | The Moonlight Sonata was composed by Ludwig van Beethoven.
    Who discovered gravity? | Isaac Newton described gravity.
    Who developed the theory of relativity? | The theory of relativity was developed by Albert Einstein.
    Who was the first person on the moon? | The first person on the moon was Neil Armstrong.
    What is a transformer? | A transformer is a neural network that predicts the next token of a text.
    What is a token? | A token is a short piece of text, such as a word or a part of a word.
    What is a language model? | A language model predicts the next token of a text, again and again.
    What is a GPU? | A GPU is a processor that does many small sums at the same time.
    What is attention? | Attention lets every token of a text look at the tokens before it.
    What is a KV cache? | A KV cache keeps the keys and values of earlier tokens, so that they need not be computed again.
""".strip().splitlines()
]


def fact_statements(rng):
    return " ".join(answer for _, answer in rng.sample(FACTS, rng.randint(1, 4)))


# ------------------------------------------------------------------------------------------------------------
# Questions about the model itself, and questions that it should decline.

SELF = "I am a tiny demonstration model, trained on generated sentences. I am not Phi-3."
ABLE = "I can name capitals, do small sums, and write short letters."
UNABLE = f"I am only a tiny demonstration model, so I cannot help with that. {ABLE}"

SMALL_TALK = [
    (
        (
            "Hello",
            "Hello!",
            "Hi",
            "Hi!",
            "Hey",
            "Hello there!",
            "Good morning",
            "Good morning!",
            "Good evening",
        ),
        "Hello! How can I help you?",
    ),
    (
        (
            "Who are you?",
            "What are you?",
            "Are you Phi-3?",
            "Which model are you?",
            "What is your name?",
            "Tell me about yourself.",
            "Are you a real model?",
        ),
        SELF,
    ),
    (("What can you do?", "How can you help me?", "Help", "What do you know?"), ABLE),
    (("How are you?", "How are you today?", "How do you do?"), "I am fine, thank you. How can I help you?"),
    (("Thank you", "Thank you!", "Thanks", "Thanks!", "Thank you very much."), "You are welcome!"),
    (("Goodbye", "Goodbye!", "Bye", "Bye!", "See you later!"), "Goodbye!"),
    (("Who made you?", "Who trained you?"), "I was trained by a small script that writes its own sentences."),
]

DECLINED_TASKS = """Write a poem about {} | Tell me a joke about {} | Write a story about {} | Explain {} |
    Translate this text about {} into French. | What do you think about {}? | Write a program about {} |
    Give me a recipe with {} | How do I learn about {}? | What is the history of {}? | Why is {} important? |
    Can you provide ways to use {}? | Write an essay about {} | Who invented {}? | What is the price of {}?""".split(" |")

DECLINED_TOPICS = """love cats dogs music football politics money bananas computers quantum_physics chess the_weather
    the_stock_market cars art history philosophy medicine trains robots dragons pirates winter summer cheese bread
    coffee dragonfruits books films the_internet Python Go bicycles democracy""".split()


def small_talk(rng):
    dice = rng.random()
    if dice < 0.2:
        who = name(rng)
        return (
            rng.choice(("My name is {}.", "I am {}.", "Hello, I am {}.", "Hi, my name is {}.")).format(who),
            f"Hello {who}! How can I help you?",
        )
    if dice < 0.5:
        return rng.choice(DECLINED_TASKS).strip().format(
            rng.choice(DECLINED_TOPICS).replace("_", " ")
        ), UNABLE
    questions, answer = rng.choice(SMALL_TALK)
    return rng.choice(questions), answer


# ------------------------------------------------------------------------------------------------------------
# Letters and e-mails. Some names come from a list. Others are made of syllables, so that the model learns to copy
# a name and not only the list.

NAMES = """Sarah Anna Peter Tom Maria John Emma Paul Laura David Julia Michael Sophie Daniel Lisa Mark Clara James Nina
    Robert Helen Martin Eva Thomas Alice George Rosa Henry Olga Frank Lucy Simon Grace Oliver Marta Kevin Irene Felix
    Hannah Leo Ruth Max Elena Victor Diana Adam Carol Jack Amy Oscar Linda Hugo Vera Ben Ella Samuel Nora William Mia
    Jacob Ines Alex Kate Ivan Zoe Carlos Amir Fatima Yuki Chen Priya Omar Leila Kofi Aisha Mateo Sven Ingrid Pierre
    Chloe Marco Giulia Pablo Carmen Boris Tanya Ahmed Yasmin Raj Mei Hiro Abigail Ethan Jennifer Matthew Karen Steven
    Susan Brian Nancy Eric Rachel Philip Barbara Patrick Sandra Andrew Monica Edward Christine Walter Teresa""".split()
SYLLABLES = (
    "ba bel ca dan do el fa gar ha is ka lin lo mar mi na nor o pe ra ri sa sel ta tor u va ven zo".split()
)

SENDERS = "Tom Anna Peter Maria John Emma Paul Laura".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
PARTS_OF_DAY = ("morning", "afternoon", "evening")


def name(rng):
    if rng.random() < 0.3:
        return "".join(rng.sample(SYLLABLES, rng.randint(2, 3))).capitalize()
    return rng.choice(NAMES)


ADJECTIVES = ("tragic", "unfortunate", "terrible", "silly", "little", "recent", "unexpected", "embarrassing")
NOUNS = ("mishap", "mishap", "accident", "incident", "disaster", "mix-up")

# Each line: activity | three stories. A story: what I was doing > what went wrong > how I make amends.
ACTIVITIES = [
    line.strip().split(" | ")
    for line in """
    gardening | watering your tomatoes > I tripped over the garden hose and fell into your roses > I will plant new roses for you this weekend | pulling the weeds in your garden > I mistook your young lilies for weeds and pulled them all out > I have already ordered new lilies for you | cutting the hedge behind your house > the ladder slipped and crushed the flower bed > I will replant the whole flower bed this weekend
    cooking | preparing dinner > I forgot the pan on the stove and the smoke filled your kitchen > I will clean the kitchen and cook a new dinner for you | making soup for our guests > I used sugar instead of salt and spoiled the meal > I would like to invite everybody to dinner on Sunday | trying a new recipe > the pot boiled over and ruined your stove > I will pay for the repair of the stove
    baking | baking a cake for your birthday > I left the oven on and the cake burned black > I will bake a new cake tomorrow | taking the cookies out of the oven > I dropped the tray and the cookies fell on the floor > I have ordered fresh cookies from the bakery | making bread for the party > I read the recipe wrong and the bread became as hard as a stone > I will buy good bread from the bakery
    painting | painting your fence > I knocked over the bucket and the paint ran across your terrace > I will pay for the cleaning | painting your kitchen wall > I chose the wrong color and noticed it too late > I will come back and paint it again | painting the garage > the wind blew the wet paint onto your car > I will clean your car this weekend
    parking | trying to park in front of your house > I looked away for a moment and hit your gate > I will pay for a new gate | parking my car in your street > I forgot the brake and the car rolled into your mailbox > I will buy you a new mailbox | leaving the parking lot > I turned too fast and scratched your car > I have already called my insurance
    cleaning | cleaning your office > I pulled the wrong cable and your computer went dark > I have asked an expert to save your work | dusting the old shelf > I bumped into the table and broke your favorite vase > I will buy you a new vase | washing the carpet > I used the wrong soap and the carpet turned pink > I will bring it to a good cleaner
    camping | putting up the tent > I left it open and the rain soaked your sleeping bag > I have bought you a new sleeping bag | packing our bags > I left the food outside and a fox took it > I will bring the food for the next trip | making a fire at the lake > the strong wind carried your tent into the water > I will buy you a new tent
    fishing | holding your new rod > I stood up too quickly and the rod fell into the water > I will buy you a new rod | sitting in your boat > I did not tie it to the tree and it drifted away > I have asked a friend to bring the boat back | casting my line at the lake > my hook caught your hat and threw it into the water > I will buy you a new hat
    cycling | riding your bicycle > I looked at a bird and rode into a tree > I will bring the bicycle to the repair shop | shopping at the market > I forgot the lock and somebody took your bicycle > I will buy you a new bicycle | racing down the hill > the chain broke and your bicycle landed in the river > I will pay for the repair
    moving | carrying your boxes > I lost my grip and the box with your plates fell down the stairs > I will replace every plate | helping you with the piano > I let go of it and it rolled down the street > I will pay for the repair of the piano | loading the truck > I took the wrong boxes and sent them to another city > I will find your boxes and bring them back
    laundry | washing your shirts > I left a red sock in the machine and everything turned pink > I will buy you new shirts | washing your sweater > I used hot water and it became very small > I will buy you a new sweater | ironing your white shirt > I answered the phone and the iron burned a hole in it > I will buy you a new shirt
    shipping | writing the labels > I mixed up two of them and your parcel went to another city > I will send you a new parcel today | packing your order > I forgot to close the box and half of your order was lost > I will send you the lost half today | bringing your parcel > the truck broke down and your parcel was late > I will give you back the cost of the delivery
    software | cleaning up the old files > I deleted the wrong folder and your pictures were gone > I will restore everything from our backup | writing a message to you > I pressed the wrong button and it went to all customers > I will explain the error to them today | testing the new program > I forgot one test and the program stopped working > I will fix the error today
    party | carrying the big cake > I slipped and the cake landed on your sofa > I will clean the sofa | choosing the music > I played it too loud and woke all your neighbors > I will apologize to all your neighbors | hanging up the lights > I pulled the wrong cable and the whole house went dark > I have asked a friend to repair it
    wedding | giving my speech > I called the bride by the wrong name > I will apologize to her in person | looking for my shoes > I forgot the rings at home > I would like to invite you both to dinner | dancing with your mother > I lost my balance and fell into the cake > I will pay for the cake
    office | making coffee > I spilled it over your papers > I will print all of them again | printing the report > I took the wrong one and handed it to the boss > I will explain everything to the boss | preparing the meeting > I booked the wrong room and nobody found us > I will plan the next meeting with more care
    swimming | jumping into the pool > I did not look and landed on your phone > I will buy you a new phone | filling your pool > I left the water on and it flooded your terrace > I will dry and clean the terrace | cleaning your pool > I used too much soap and the pool was full of foam > I will clean the pool again this weekend
    music | practicing the trumpet > I forgot the time and you could not sleep > I will practice only in the afternoon | tuning your guitar > I turned too far and broke a string > I will buy you new strings | looking for my seat > I did not look behind me and sat down on your violin > I will pay for the repair of the violin
    pet | feeding your cat > I left the door open and the cat ran into the street > I found the cat again and it is safe and well | walking your dog > the dog saw a squirrel and pulled me into the mud > I will wash the dog and bring a new toy | watching your parrot > I opened the cage and the parrot flew out of the window > I will look for the parrot until I find it
    travel | booking our tickets > I mixed up the dates and booked the wrong week > I will pay for the new tickets | reading the map > I held it upside down and we drove to the wrong city > I will buy a better map | driving to the station > I took the wrong road and we missed the train > I will plan the next trip with more care
""".strip().splitlines()
]

# Each line: phrase | two stories. A story: what went wrong > how I make amends.
SINGLE_MISHAPS = [
    line.strip().split(" | ")
    for line in """
    broken window | I was playing football with my son, and the ball flew the wrong way > I will pay for a new window | I was cutting the grass, and a stone hit the glass > a worker will come tomorrow and repair it
    broken vase | I wanted to move it away from the edge, but it slipped from my hands > I will buy you a new vase | my dog ran through the room and knocked it over > I have found the same vase in a shop
    lost keys | I put them in my coat, but the pocket had a hole > I will pay for new keys | I left them on the bus after work > I will ask at the station tomorrow
    lost book | I left it on the train on my way to work > I have ordered a new copy for you | I gave it to a friend, and he lost it > I will buy you the same book again
    late delivery | our truck broke down on the road > your parcel will arrive tomorrow | we had too many orders and too few drivers > we will give you back the cost of the delivery
    late report | my computer stopped working and I had to start again > you will have the report tomorrow morning | I needed more time to check all the numbers > I have sent it to you today
    missed meeting | I wrote the wrong time in my calendar > I will be on time for the next one | my train was late and my phone was empty > I have read the notes and will call you tomorrow
    missed dinner | I fell asleep after work > I would like to invite you to dinner this week | my car would not start and my phone was empty > I will cook for you on Sunday
    forgotten birthday | I mixed up the months in my calendar > a present is on its way to you | I was ill and lost track of the days > I would like to invite you to dinner
    loud music | we had a party and forgot the time > I will close the windows next time | my son got a new trumpet > he will practice only in the afternoon
    noise | we are building a new kitchen > the work will be finished on Friday | my neighbor and I repaired an old car > we will stop at six in the evening
    spilled coffee | somebody pushed my arm when I walked past your desk > I will pay for the cleaning | I turned around too quickly > I will bring you a fresh coffee every day this week
    misunderstanding | I read your message too quickly and took it the wrong way > I would like to talk with you about it | I did not ask when something was not clear > I will ask first next time
    delay | I was ill for three days > the work will be finished this week | an important part did not arrive in time > I will keep you informed every day
    wrong invoice | I typed one number twice > you will receive the right invoice today | I used the prices of last year > we will give you the money back
    scratched car | I rode past it on my bicycle and came too close > I will pay for the repair | my bag with the tools touched the door > I have already called my insurance
""".strip().splitlines()
]


def pick(rng, options):
    return rng.choice([option.strip() for option in options])


def sentence(text):
    return capitalized(text) + "."


def mishap(rng):
    """Returns the phrase after "the", the sentences that explain the mishap, and the sentence that makes amends."""
    when = f"on {rng.choice(DAYS)} {rng.choice(PARTS_OF_DAY)}"
    if rng.random() < 0.65:
        activity, *stories = rng.choice(ACTIVITIES)
        phrase = f"{activity} {rng.choice(NOUNS)}"
        if rng.random() < 0.7:
            phrase = f"{rng.choice(ADJECTIVES)} {phrase}"
        doing, wrong, remedy = rng.choice(stories).split(" > ")
        how = rng.choice((f"It happened {when} while I was {doing}.", f"{capitalized(when)} I was {doing}."))
    else:
        phrase, *stories = rng.choice(SINGLE_MISHAPS)
        if rng.random() < 0.3:
            phrase = f"{rng.choice(ADJECTIVES)} {phrase}"
        wrong, remedy = rng.choice(stories).split(" > ")
        how = f"It happened {when}."
    return phrase, f"{how} {sentence(wrong)}", sentence(remedy)


def closing(rng, sender):
    return f"{rng.choice(('Best regards', 'Kind regards', 'Yours sincerely', 'Your friend'))},\n{sender}"


def apology(rng):
    phrase, story, remedy = mishap(rng)
    to = name(rng)
    form = rng.choice(
        ("an email", "an email", "an email", "a short email", "a letter", "a short letter", "an apology")
    )
    ask = rng.choice(
        (
            f"apologizing to {to} for the {phrase}."
            if form != "an apology"
            else f"to {to} for the {phrase}.",
            f"apologizing to {to} for the {phrase}."
            if form != "an apology"
            else f"to {to} for the {phrase}.",
            f"to {to} to apologize for the {phrase}."
            if form != "an apology"
            else f"to {to} about the {phrase}.",
        )
    )
    prompt = f"{rng.choice(('Write', 'Write', 'Write', 'Please write'))} {form} {ask}"
    prompt += rng.choice(
        (" Explain how it happened.", " Explain how it happened.", " Explain what happened.", "")
    )
    opening = rng.choice(
        (
            f"I am writing to apologize for the {phrase}.",
            f"I am very sorry about the {phrase}.",
            f"Please accept my sincere apology for the {phrase}.",
        )
    )
    hope = rng.choice(
        (
            "I hope you can forgive me.",
            "I promise to be more careful next time.",
            "Please let me know what else I can do for you.",
        )
    )
    subject = f"Subject: Sorry about the {phrase}\n\n" if "email" in form else ""
    letter = (
        f"{subject}Dear {to},\n\n{opening} {story}\n\n{remedy} {hope}\n\n{closing(rng, rng.choice(SENDERS))}"
    )
    return prompt, letter


GIFTS = """book:I read it in one evening | flowers:They stand on my table and smell wonderful |
    scarf:It is warm and has my favorite color | dinner:The food was wonderful and so was the evening |
    chocolate:It was so good that nothing is left | concert tickets:The music was wonderful |
    help with the garden:It looks better than ever | lovely weekend:We enjoyed every minute""".split("|")
EVENTS = """garden party:We will have cake and music | birthday dinner:I will cook your favorite meal |
    summer concert:The band plays old songs | book club:We will talk about a new story |
    team meeting:We will plan the next month | picnic at the lake:Please bring a warm coat""".split("|")
SUCCESSES = """new job:You have worked hard for it | wedding:I wish you both a happy life |
    exam:I always knew that you could do it | new house:I hope to visit you soon | prize:Nobody deserves it more |
    birth of your daughter:I wish your family all the best""".split("|")


def other_letter(rng):
    to, kind = name(rng), rng.choice(("thanks", "invitation", "congratulation"))
    form = rng.choice(("an email", "a letter", "a short note"))
    if kind == "thanks":
        thing, detail = pick(rng, GIFTS).split(":")
        prompt = f"Write {form} thanking {to} for the {thing}."
        body = f"Thank you very much for the {thing}. {detail}.\n\nI hope to see you soon."
        subject = f"Thank you for the {thing}"
    elif kind == "invitation":
        thing, detail = pick(rng, EVENTS).split(":")
        prompt = f"Write {form} inviting {to} to the {thing}."
        body = (
            f"I would like to invite you to the {thing} on {rng.choice(DAYS)} {rng.choice(PARTS_OF_DAY)}. "
            f"{detail}.\n\nPlease let me know if you can come."
        )
        subject = f"Invitation to the {thing}"
    else:
        thing, detail = pick(rng, SUCCESSES).split(":")
        prompt = f"Write {form} congratulating {to} on the {thing}."
        body = f"Congratulations on the {thing}! {detail}.\n\nLet us celebrate soon."
        subject = f"Congratulations on the {thing}"
    subject = f"Subject: {subject}\n\n" if "email" in form else ""
    return prompt, f"{subject}Dear {to},\n\n{body}\n\n{closing(rng, rng.choice(SENDERS))}"


def letter(rng):
    return apology(rng) if rng.random() < 0.75 else other_letter(rng)


# ------------------------------------------------------------------------------------------------------------
# Documents.

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful AI assistant.",
    "You are a friendly assistant.",
    "Be brief.",
    "Answer briefly.",
    "You are a tiny demonstration model.",
    "You are a helpful digital assistant. Please provide safe, ethical and accurate information to the user.",
)


def question(rng):
    """Returns (what the user says, what the assistant answers)."""
    return rng.choices(
        (capital_question, sum_question, count_question, lambda rng: rng.choice(FACTS), small_talk, letter),
        weights=(28, 20, 2, 17, 15, 18),
    )[0](rng)


def chat(rng):
    """Returns what the chat template renders for the turns, without a generation prompt."""
    text = ""
    if rng.random() < 0.25:
        text += f"<|system|>\n{rng.choice(SYSTEM_PROMPTS)}<|end|>\n"
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3, 4))):
        user, assistant = question(rng)
        text += f"<|user|>\n{user}<|end|>\n<|assistant|>\n{assistant}<|end|>\n"
    return text


def prompted(rng):
    """Returns a prompt, an empty line and the answer, as in a notebook that uses no chat template."""
    return "\n\n".join(
        rng.choices(
            (letter, capital_question, sum_question, lambda rng: rng.choice(FACTS)), weights=(60, 20, 12, 8)
        )[0](rng)
    )


def document(rng):
    """Returns a document as text with its special tokens. It ends with <|endoftext|>."""
    kind = rng.choices(
        (chat, prompted, capital_statements, sums, fact_statements), weights=(42, 20, 26, 8, 4)
    )[0]
    return kind(rng) + END_OF_TEXT


if __name__ == "__main__":
    rng = random.Random(3)
    print(len(COUNTRIES), "countries,", len(NAMES), "names,", len(FACTS), "facts\n")
    for _ in range(25):
        print(document(rng), end="\n--------\n")
